"""Workflows of a stack itself: previews in pull requests, and `pulumi up` of what is merged."""

from pulumi_tiers.model.pipeline import Pipeline, PipelineOptions, Workflow


def stack_workflows(pipeline: Pipeline, options: PipelineOptions) -> dict[str, Workflow]:
    """The files, by name."""
    return {}
