"""Workflow files: YAML as a person would have written it."""

import io
import re
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import yaml
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.scalarstring import (
    DoubleQuotedScalarString,
    LiteralScalarString,
    SingleQuotedScalarString,
)

from pulumi_tiers.model.pipeline import Pipeline
from pulumi_tiers.model.workflow import Job, Step, Workflow
from pulumi_tiers.pipelines.actions import pin
from pulumi_tiers.pipelines.expand import expanded
from pulumi_tiers.pipelines.seal import sealed
from pulumi_tiers.render.dumper import Dumper

Json: TypeAlias = Any
"""What YAML can hold."""

COMMENT = "#"
"""The key, in any map, of a comment that is written above that map."""
BESIDE = "#>"
"""The same, of one that is written beside the map's key."""

_WIDTH = 100
# What can stand in one line with others; names may have several words.
_WORD = re.compile(r"[^\s,\[\]{}]*|\w[\w -]*")
_IS_TEXT = "tag:yaml.org,2002:str"
# What people look for first; keys that aren't named here come after these, as they are given.
_WORKFLOW = ("name", "run-name", "on", "permissions", "env", "defaults", "concurrency", "jobs")
_JOB = (
    *("name", "needs", "if", "runs-on", "environment", "permissions", "concurrency"),
    *("timeout-minutes", "strategy", "outputs", "env", "defaults", "steps"),
)
_STEP = ("name", "id", "if", "uses", "with", "env", "working-directory", "shell", "run")


FOLDER = ".github/workflows"


def workflow_files(pipeline: Pipeline) -> dict[str, str]:
    """The files of a pipeline: path in the repository -> text, with the checksum of `sealed`.

    Raises DescriptionError for an action that has no pin.
    """
    return {
        f"{FOLDER}/{file}": sealed(f"\n{workflow_text(workflow_data(workflow))}")
        for file, workflow in expanded(pipeline).items()
    }


def workflow_data(workflow: Workflow) -> dict[str, Json]:
    """An expanded workflow in GitHub's own words, for `workflow_text`."""
    concurrency: dict[str, Json] = {}
    if workflow.concurrency:
        cancel = bool(workflow.cancel_in_progress)
        concurrency = {"group": workflow.concurrency, "cancel-in-progress": cancel}
    return _given(
        {
            COMMENT: workflow.comment,
            "name": workflow.name,
            "on": _triggers(workflow),
            "env": workflow.env,
            # Named, it also stops at a program that fails in a pipe.
            "defaults": {"run": {"shell": "bash"}},
            "concurrency": concurrency,
            "jobs": {name: _job(job) for name, job in workflow.jobs.items()},
        },
        # Each job asks for what it needs.
        permissions={},
    )


def _triggers(workflow: Workflow) -> dict[str, Json]:
    on = workflow.on
    found: dict[str, Json] = {}
    if on.push:
        # Without branches, GitHub would also take every tag; with tags alone, no branch.
        branches = on.push.branches or ["**"]
        found["push"] = _given({"branches": branches, "tags": on.push.tags, "paths": on.push.paths})
    if on.pull_request:
        asked = on.pull_request
        only = {"types": asked.types, "branches": asked.branches, "paths": asked.paths}
        found["pull_request"] = _given(only) or None
    if on.after:
        steps = [step for job in workflow.jobs.values() for step in job.steps]
        # It has the rights that the run of a fork had not: that is no danger where nothing of the
        # fork's is checked out.
        harmless = not any(step.uses == "actions/checkout" for step in steps)
        beside = {BESIDE: "zizmor: ignore[dangerous-triggers]"} if harmless else {}
        found["workflow_run"] = {"workflows": on.after, "types": ["completed"], **beside}
    if on.schedule:
        found["schedule"] = [{"cron": cron} for cron in on.schedule]
    if on.dispatch:
        found["workflow_dispatch"] = None
    return found


def _job(job: Job) -> dict[str, Json]:
    concurrency = {"group": job.concurrency, "cancel-in-progress": False}
    return _given(
        {
            COMMENT: job.comment,
            "name": job.name,
            "needs": _one_or_many(job.needs),
            "if": job.condition,
            "runs-on": _one_or_many(job.runs_on),
            "environment": job.environment,
            "concurrency": concurrency if job.concurrency else None,
            "timeout-minutes": job.timeout_minutes,
            # One that fails says nothing about the others.
            "strategy": {"fail-fast": False, "matrix": job.matrix} if job.matrix else None,
            "outputs": job.outputs,
            "env": job.env,
            "steps": [_step(step) for step in job.steps],
        },
        permissions={str(part): str(access) for part, access in sorted(job.permissions.items())},
    )


def _step(step: Step) -> dict[str, Json]:
    run = (step.run or "").strip("\n").rstrip()
    return _given(
        {
            COMMENT: step.comment,
            "name": step.name,
            "id": step.id,
            "if": step.condition,
            "uses": step.uses,
            "with": {key: _input(key, value) for key, value in step.inputs.items()},
            "env": step.env,
            "working-directory": step.working_directory,
            "run": f"{run}\n" if "\n" in run else run,
        }
    )


def _input(key: str, value: str) -> Json:
    """As people write it. GitHub gives actions texts only, so 3.10 would become 3.1."""
    if "\n" in value:
        return f"{value.rstrip()}\n"
    if value in ("true", "false"):
        return value == "true"
    is_number = re.fullmatch(r"0|[1-9]\d{0,8}", value) and not key.endswith("version")
    return int(value) if is_number else value


def _given(values: Mapping[str, Json], **also: Json) -> dict[str, Json]:
    """Those that say something, and `also`."""
    return {key: value for key, value in values.items() if value} | also


def _one_or_many(values: list[str]) -> Json:
    return values[0] if len(values) == 1 else values


# --- YAML -----------------------------------------------------------------------------------------


def workflow_text(workflow: Mapping[str, Json]) -> str:
    """A workflow as YAML that holds exactly this data.

    The order of its keys, and of its jobs' and steps', doesn't matter. ``"#"`` in any map is a
    comment. An action without ``@`` gets its pin, the version as a comment.
    """
    writer = YAML()
    writer.indent(mapping=2, sequence=4, offset=2)
    writer.width = 1_000_000  # nothing is folded
    text = io.StringIO()
    writer.dump(_workflow(workflow), text)
    return text.getvalue()


def _workflow(workflow: Mapping[str, Json]) -> CommentedMap:
    made = CommentedMap()
    for key, value in _ordered(workflow, _WORKFLOW):
        made[key] = _jobs(value) if key == "jobs" else _node(value, 2)
        _above(made, key, _comment(value), 0, blank=len(made) > 1 and key != "run-name")
    if lines := _wrapped(_comment(workflow), 0):
        made.yaml_set_start_comment("\n".join(lines))
    return made


def _jobs(jobs: Mapping[str, Json]) -> CommentedMap:
    made = CommentedMap()
    for position, (name, job) in enumerate(_ordered(jobs, ())):
        made[name] = CommentedMap()
        for key, value in _ordered(job, _JOB):
            made[name][key] = _steps(value) if key == "steps" else _node(value, 6)
            _above(made[name], key, _comment(value), 4)
        _above(made, name, _comment(job), 2, blank=position > 0)
    return made


def _steps(steps: Sequence[Mapping[str, Json]]) -> CommentedSeq:
    made = CommentedSeq()
    for position, step in enumerate(steps):
        item = CommentedMap()
        for key, value in _ordered(step, _STEP):
            item[key] = _node(value, 10)
            _above(item, key, _comment(value), 8)
        if "@" not in str(step.get("uses", "@")):
            pinned = pin(step["uses"])
            item["uses"] = pinned.uses
            item.yaml_add_eol_comment(pinned.version, key="uses", column=0)
        made.append(item)
        _above(made, position, _comment(step), 6, blank=position > 0)
    return made


def _ordered(mapping: Mapping[str, Json], first: tuple[str, ...]) -> Iterator[tuple[str, Json]]:
    """Without the comment."""
    order = {key: position for position, key in enumerate(first)}
    for key in sorted(mapping, key=lambda key: order.get(key, len(order))):
        if key not in (COMMENT, BESIDE):
            yield key, mapping[key]


def _node(value: Json, indent: int) -> Json:
    """The value in the style that people would choose."""
    match value:
        case str():
            return _text(value)
        case Mapping():
            made = CommentedMap()
            for key, item in _ordered(value, ()):
                made[key] = _node(item, indent + 2)
                _above(made, key, _comment(item), indent)
                if beside := _comment(item, BESIDE):
                    made.yaml_add_eol_comment(beside, key=key, column=0)
            return made
        case list():
            return _list(value, indent)
        case _:
            return value


def _list(values: list[Json], indent: int) -> CommentedSeq:
    made = CommentedSeq(_node(value, indent + 2) for value in values)
    line = ", ".join(str(value) for value in values)
    words = all(isinstance(value, str) and _WORD.fullmatch(value) for value in values)
    if words and len(line) < _WIDTH - 40:
        made.fa.set_flow_style()
    return made


def _text(value: str) -> str:
    if "\n" in value:
        # Empty lines at its end would take those between two steps for their own.
        is_block = value.strip() and value.rstrip() in (value, value.removesuffix("\n"))
        return LiteralScalarString(value) if is_block else DoubleQuotedScalarString(value)
    if Dumper(io.StringIO()).resolve(yaml.ScalarNode, value, (True, False)) != _IS_TEXT:
        return SingleQuotedScalarString(value)
    return value


def _comment(value: Json, key: str = COMMENT) -> str:
    return str(value.get(key, "")) if isinstance(value, Mapping) else ""


def _above(
    node: CommentedMap | CommentedSeq,
    key: str | int,
    comment: str,
    indent: int,
    *,
    blank: bool = False,
) -> None:
    lines = ([""] if blank else []) + _wrapped(comment, indent)
    if lines:
        # A line end at the end is taken off.
        text = "\n".join(lines) + "\n"
        node.yaml_set_comment_before_after_key(key, before=text, indent=indent)


def _wrapped(comment: str, indent: int) -> list[str]:
    return [
        line
        for paragraph in comment.splitlines()
        # The writer takes every space off before it looks for a '#'; YAML knows but two of them.
        for line in textwrap.wrap(
            re.sub(r"\s", " ", paragraph),
            _WIDTH - indent - 2,
            break_long_words=False,
            break_on_hyphens=False,
        )
    ]
