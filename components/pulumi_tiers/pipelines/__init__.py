"""Pipelines of GitHub Actions: from the description of a system to workflow files."""
