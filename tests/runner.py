"""A small stand-in of GitHub's Actions and their runner, for tests. It is not GitHub's.

It decides what an event starts, runs the jobs one after another in the order of their ``needs``,
executes ``run:`` steps with bash as a runner does, and records what ``uses:`` steps were given.
What it doesn't know (containers, reusable workflows, composite actions) it refuses. Tools such as
docker or kubectl are stubs that record their calls (`stubs.Tools`). Source of the rules: GitHub's
documentation, "Workflow syntax", "Contexts", "Workflow commands".
"""

import hashlib
import itertools
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from events import Event, Json
from expressions import as_text, expand, holds, selected
from ruamel.yaml import YAML
from stubs import Call, Tools

TOKEN = "ghs_stand-in"
#: For one step; what waits longer waits for something that no stub answers.
_SECONDS = 30
#: What is understood; of timeouts, concurrency and services nothing is done.
_JOB = {
    *("concurrency", "defaults", "env", "environment", "if", "name", "needs", "outputs"),
    *("permissions", "runs-on", "services", "steps", "strategy", "timeout-minutes"),
}
_STEP = {
    *("continue-on-error", "env", "id", "if", "name", "run", "shell", "timeout-minutes", "uses"),
    *("with", "working-directory"),
}


# --- what a test says, and what was done ---


@dataclass(frozen=True)
class Gate:
    """A GitHub environment: `approval` is ``approved``, ``waiting`` or ``rejected``."""

    approval: str = "approved"
    branches: tuple[str, ...] = ("**",)
    secrets: Mapping[str, str] = field(default_factory=dict)
    variables: Mapping[str, str] = field(default_factory=dict)


class ActionFailed(Exception):  # noqa: N818
    """Raised by the effect of a ``uses:`` step to fail it."""


@dataclass(frozen=True)
class Uses:
    """A ``uses:`` step that ran; `given` is its evaluated ``with:``."""

    action: str
    version: str
    given: dict[str, str]
    env: dict[str, str]
    job: str
    step: str
    workspace: Path

    def __str__(self) -> str:
        return f"uses {self.action}"


#: Gives the step's outputs.
Effect = Callable[[Uses], Mapping[str, str] | None]


@dataclass
class Step:
    name: str
    id: str = ""
    #: success, failure, skipped; `conclusion` is what ``continue-on-error`` makes of it.
    outcome: str = "skipped"
    conclusion: str = "skipped"
    script: str = ""
    log: str = ""
    outputs: dict[str, str] = field(default_factory=dict)


@dataclass
class Job:
    name: str
    definition: Json
    #: success, failure, skipped, cancelled; waiting: for an approval, or for a job that waits.
    result: str = "skipped"
    steps: list[Step] = field(default_factory=list)
    outputs: dict[str, Any] = field(default_factory=dict)
    #: What the token may do, as written; None where nothing is written.
    permissions: Any = None
    environment: str = ""
    summary: str = ""

    def step(self, name: str) -> Step:
        return next(each for each in self.steps if name in (each.name, each.id))


@dataclass
class Run:
    """One run of one workflow; `trace` has tools' calls and actions in the order they came."""

    name: str
    event: Event
    jobs: dict[str, Job] = field(default_factory=dict)
    trace: list[Call | Uses] = field(default_factory=list)
    processes: list[list[str]] = field(default_factory=list)

    @property
    def result(self) -> str:
        results = [job.result for job in self.jobs.values()]
        worst = ("failure", "cancelled", "waiting", "success", "skipped")
        return next(each for each in worst if each in results)

    @property
    def log(self) -> str:
        return "\n".join(step.log for job in self.jobs.values() for step in job.steps)

    def lines(self, start: str = "") -> list[str]:
        """What was called, as command lines; those that start so."""
        return [line for each in self.trace if (line := str(each)).startswith(start)]

    def calls(self, start: str) -> list[Call]:
        return [x for x in self.trace if isinstance(x, Call) and str(x).startswith(start)]

    def uses(self, action: str) -> list[Uses]:
        return [x for x in self.trace if isinstance(x, Uses) and x.action == action]

    def leaks(self, secrets: Mapping[str, str]) -> list[str]:
        """Where a secret can be read: in a script, in arguments, in logs, summaries, outputs."""
        places: list[tuple[str, str]] = [("arguments", shlex.join(x)) for x in self.processes]
        for job in self.jobs.values():
            places += [(f"{job.name}: summary", job.summary)]
            places += [(f"{job.name}: output {k}", as_text(v)) for k, v in job.outputs.items()]
            for step in job.steps:
                where = f"{job.name}/{step.name}"
                places += [(f"{where}: script", step.script), (f"{where}: log", step.log)]
                places += [(f"{where}: output {k}", v) for k, v in step.outputs.items()]
        return [
            f"{name} in {place}: {text.strip()[:200]}"
            for place, text in places
            for name, value in secrets.items()
            if value and value in text
        ]


# --- the runner -----------------------------------------------------------------------------------


@cache
def loaded(text: str) -> Json:
    """A workflow, which nobody changes."""
    # YAML 1.2, in which `on` is a word.
    return YAML(typ="safe", pure=True).load(text)


@dataclass
class Runner:
    """`checkout`: what actions/checkout puts into the workspace, which each job has anew."""

    folder: Path
    checkout: Path
    secrets: Mapping[str, str] = field(default_factory=dict)
    variables: Mapping[str, str] = field(default_factory=dict)
    environments: Mapping[str, Gate] = field(default_factory=dict)
    #: By an action's name without version.
    effects: dict[str, Effect] = field(default_factory=dict)
    real: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        self.tools = Tools(self.folder / "tools", self.real)
        self.artifacts = self.folder / "artifacts"
        standard: dict[str, Effect] = {
            "actions/checkout": self._check_out,
            "actions/upload-artifact": self._upload,
            "actions/download-artifact": self._download,
            "docker/build-push-action": _build_and_push,
        }
        self.effects = standard | self.effects

    def trigger(self, workflows: Mapping[str, str], event: Event) -> dict[str, Run]:
        """The runs that `event` starts. `workflows`: file name → YAML text."""
        runs = {file: self.run(text, event, file) for file, text in workflows.items()}
        return {file: run for file, run in runs.items() if run}

    def run(self, text: str, event: Event, file: str = "workflow.yaml") -> Run | None:
        """The run; None if `event` doesn't start this workflow."""
        workflow = loaded(text)
        if not event.starts(workflow["on"]):
            return None
        if re.search(r"\bjq\b", text) and not shutil.which("jq"):
            pytest.skip("no jq, which a step uses and every runner has: apt-get install jq")
        return _Execution(self, workflow, event, file).run()

    def _check_out(self, uses: Uses) -> None:
        folder = uses.workspace / uses.given.get("path", "")
        shutil.copytree(self.checkout, folder, symlinks=True, dirs_exist_ok=True)

    def _upload(self, uses: Uses) -> None:
        target = self.artifacts / uses.given.get("name", "artifact")
        found = [x for p in uses.given["path"].split() for x in uses.workspace.glob(p.rstrip("/"))]
        if not found and uses.given.get("if-no-files-found") == "error":
            raise ActionFailed(f"no files were found with the path {uses.given['path']}")
        target.mkdir(parents=True, exist_ok=True)
        for path in found:
            if path.is_dir():
                shutil.copytree(path, target, dirs_exist_ok=True)
            else:
                shutil.copy(path, target)

    def _download(self, uses: Uses) -> None:
        target = uses.workspace / uses.given.get("path", "")
        if pattern := uses.given.get("pattern"):
            # Each into a folder of its own, but not a single one: so says the action since its v5.
            sources = list(self.artifacts.glob(pattern))
            for source in sources:
                folder = target / source.name if len(sources) > 1 else target
                shutil.copytree(source, folder, dirs_exist_ok=True)
            return
        source = self.artifacts / uses.given["name"]
        if not source.is_dir():
            raise ActionFailed(f"no artifact {uses.given['name']}")
        shutil.copytree(source, target, dirs_exist_ok=True)


def _build_and_push(uses: Uses) -> dict[str, str]:
    digest = hashlib.sha256(uses.given.get("tags", "").encode()).hexdigest()
    return {"digest": f"sha256:{digest}", "imageid": f"sha256:{digest}"}


class _Execution:
    """One run of a workflow."""

    def __init__(self, runner: Runner, workflow: Json, event: Event, file: str) -> None:
        self.runner, self.workflow, self.event = runner, workflow, event
        self.done = Run(workflow.get("name", file), event)
        self.folder = runner.folder / f"{Path(file).stem}-{len(list(runner.folder.iterdir()))}"
        self.folder.mkdir()
        (self.folder / "event.json").write_text(json.dumps(event.body()))
        pull = event.name.startswith("pull_request")
        path = f".github/workflows/{file}"
        self.github: Json = {
            "token": TOKEN,
            "event": event.body(),
            "event_name": event.name,
            "sha": event.sha,
            "ref": event.ref,
            "ref_name": event.ref.split("/", 2)[2],
            "actor": "octocat",
            "ref_type": "tag" if event.tag else "branch",
            "triggering_actor": "octocat",
            "head_ref": event.branch if pull else "",
            "base_ref": event.base if pull else "",
            "repository": event.repository,
            "repository_owner": event.repository.split("/")[0],
            "workflow": self.done.name,
            "workflow_ref": f"{event.repository}/{path}@{event.ref}",
            "run_id": "11",
            "run_number": "3",
            "run_attempt": "1",
            "server_url": "https://github.com",
            "api_url": "https://api.github.com",
            "event_path": str(self.folder / "event.json"),
        }
        on = workflow["on"]
        asked = (on.get("workflow_dispatch") or {}) if isinstance(on, Mapping) else {}
        defaults = {k: x.get("default", "") for k, x in (asked.get("inputs") or {}).items()}
        self.inputs = {**defaults, **event.inputs} if event.name == "workflow_dispatch" else {}

    def run(self) -> Run:
        waiting: dict[str, Json] = dict(self.workflow["jobs"])
        while waiting:
            ready = [k for k, job in waiting.items() if not {*_needs(job)} & {*waiting}]
            assert ready, f"jobs that need each other: {', '.join(waiting)}"
            self._job(ready[0], waiting.pop(ready[0]))
        self.done.processes = self.runner.tools.take_processes()
        return self.done

    # --- jobs ---

    def _ancestors(self, job: str) -> set[str]:
        """A status function looks at these: also at those that a needed job has needed."""
        needed = set(_needs(self.workflow["jobs"][job]))
        return needed.union(*map(self._ancestors, needed))

    def _result(self, job: str) -> str:
        legs = [self.done.jobs[name].result for name in self._of(job)]
        order = ("failure", "cancelled", "waiting", "success", "skipped")
        return next(each for each in order if each in legs)

    def _job(self, key: str, definition: Json) -> None:
        unknown = definition.keys() - _JOB
        assert not unknown, f"this stand-in knows nothing of {', '.join(unknown)} of a job"
        needs = {
            name: {"result": self._result(name), "outputs": self._outputs(name)}
            for name in _needs(definition)
        }
        before = [self._result(name) for name in self._ancestors(key)]
        contexts: Json = {
            "github": {**self.github, "job": key},
            "needs": needs,
            "inputs": self.inputs,
            "vars": self.runner.variables,
        }
        status = {
            "success": lambda: all(each == "success" for each in before),
            "failure": lambda: "failure" in before,
            "cancelled": lambda: False,
            "always": lambda: True,
        }
        if "waiting" in before:
            self.done.jobs[key] = Job(key, definition, "waiting")
        elif not holds(definition.get("if"), contexts, status):
            self.done.jobs[key] = Job(key, definition)
        else:
            self._legs(key, definition, contexts)

    def _outputs(self, job: str) -> Json:
        legs = [self.done.jobs[name].outputs for name in self._of(job)]
        return {name: value for leg in legs for name, value in leg.items() if value}

    def _legs(self, key: str, definition: Json, contexts: Json) -> None:
        strategy: Json = expand(definition.get("strategy", {}), contexts)
        legs = _matrix(strategy.get("matrix", {}))
        stops = strategy.get("fail-fast", True) and strategy.get("max-parallel") == 1
        for number, leg in enumerate(legs):
            name = f"{key} ({', '.join(as_text(x) for x in leg.values())})" if leg else key
            failed = any(self.done.jobs[each].result == "failure" for each in self._of(key))
            if stops and failed:
                self.done.jobs[name] = Job(name, definition, "cancelled")
                continue
            place = {"job-index": number, "job-total": len(legs)}
            self._leg(name, definition, {**contexts, "matrix": leg, "strategy": place})

    def _of(self, key: str) -> list[str]:
        return [name for name in self.done.jobs if name.split(" (")[0] == key]

    def _leg(self, name: str, definition: Json, contexts: Json) -> None:
        job = self.done.jobs[name] = Job(name, definition)
        job.permissions = definition.get("permissions", self.workflow.get("permissions"))
        if self.event.untrusted and isinstance(job.permissions, dict):
            job.permissions = {k: "read" for k, v in job.permissions.items() if v != "none"}
        environment = expand(definition.get("environment", ""), contexts | _late())
        job.environment = environment["name"] if isinstance(environment, dict) else environment
        gate = self.runner.environments.get(job.environment, Gate()) if job.environment else Gate()
        ref = self.github["ref_name"]
        if not selected(ref, gate.branches) or gate.approval == "rejected":
            job.result = "failure"
        elif gate.approval == "waiting":
            job.result = "waiting"
        else:
            secrets = {} if self.event.untrusted else {**self.runner.secrets, **gate.secrets}
            contexts["secrets"] = {**secrets, "GITHUB_TOKEN": TOKEN}
            contexts["vars"] = {**self.runner.variables, **gate.variables}
            _Leg(self, job, contexts).run()


def _late() -> Json:
    """Contexts that an environment's address may use; it is of no interest here."""
    return {"steps": {}, "env": {}, "job": {}, "runner": {}, "secrets": {}}


class _Leg:
    """One job on one machine."""

    def __init__(self, execution: _Execution, job: Job, contexts: Json) -> None:
        self.execution, self.job, self.contexts = execution, job, contexts
        self.folder = execution.folder / re.sub(r"[^\w-]+", "-", job.name)
        self.workspace = self.folder / "workspace"
        own = "self-hosted" if "self-hosted" in str(job.definition["runs-on"]) else "github-hosted"
        # One's own machine keeps it from run to run.
        kept = execution.runner.folder if own == "self-hosted" else self.folder
        self.home = kept / "home"
        for each in (self.workspace, self.folder / "temp", self.home):
            each.mkdir(parents=True, exist_ok=True)
        self.runner_context = {
            "os": "Linux",
            "arch": "X64",
            "name": "stand-in",
            "environment": own,
            "temp": str(self.folder / "temp"),
            "tool_cache": str(self.folder / "tools"),
        }
        contexts["github"] = {**contexts["github"], "workspace": str(self.workspace)}
        #: Without what steps know: an expression in env: must not use more either.
        workflow = execution.workflow
        self.env = {**expand(workflow.get("env") or {}, {**contexts, "needs": {}})}
        self.env |= expand(job.definition.get("env") or {}, contexts)
        contexts |= {"runner": self.runner_context, "steps": {}}
        self.path: list[str] = []

    def run(self) -> None:
        failed = False
        for number, definition in enumerate(self.job.definition["steps"]):
            step = Step(str(definition.get("name", f"step {number + 1}")), definition.get("id", ""))
            self.job.steps.append(step)
            status = {
                "success": lambda failed=failed: not failed,
                "failure": lambda failed=failed: failed,
                "cancelled": lambda: False,
                "always": lambda: True,
                "hashFiles": self._hash,
            }
            self.contexts["job"] = {"status": "failure" if failed else "success"}
            self._step(step, definition, status)
            failed = failed or step.conclusion == "failure"
            if step.id:
                self.contexts["steps"][step.id] = {
                    "outcome": step.outcome,
                    "conclusion": step.conclusion,
                    "outputs": step.outputs,
                }
        self.job.result = "failure" if failed else "success"
        outputs = self.job.definition.get("outputs") or {}
        self.job.outputs = expand(outputs, {**self.contexts, "env": self.env})

    def _hash(self, *globs: str) -> str:
        found = sorted({x for glob in globs for x in self.workspace.glob(glob) if x.is_file()})
        hashes = [hashlib.sha256(each.read_bytes()).digest() for each in found]
        return hashlib.sha256(b"".join(hashes)).hexdigest() if found else ""

    def _step(self, step: Step, definition: Json, status: Json) -> None:
        known = {**self.contexts, "env": self.env}
        hashing = {"hashFiles": self._hash}
        env = {**self.env, **expand(definition.get("env") or {}, known, hashing)}
        known["env"] = env
        unknown = definition.keys() - _STEP
        assert not unknown, f"this stand-in knows nothing of {', '.join(unknown)} of a step"
        # GitHub gives no secrets to a condition.
        asked = {name: each for name, each in known.items() if name != "secrets"}
        if not holds(definition.get("if"), asked, status):
            return
        step.name = as_text(expand(step.name, known))
        step.outcome = "success"
        try:
            if "run" in definition:
                self._script(step, expand(definition, known, hashing), env)
            else:
                given = expand(definition.get("with") or {}, known, hashing)
                self._action(step, definition["uses"], given, env)
        except ActionFailed as why:
            step.outcome, step.log = "failure", f"{step.log}{why}"
        goes_on = expand(definition.get("continue-on-error", False), known)
        step.conclusion = "success" if goes_on else step.outcome

    def _action(self, step: Step, uses: str, given: Json, env: Json) -> None:
        action, _, version = uses.partition("@")
        effect = self.execution.runner.effects.get(action)
        assert effect or not uses.startswith("."), f"this stand-in runs no action itself: {uses}"
        texts = {key: as_text(value) for key, value in given.items()}
        seen = {key: as_text(value) for key, value in env.items()}
        done = Uses(action, version, texts, seen, self.job.name, step.name, self.workspace)
        self.execution.done.trace.append(done)
        step.outputs = dict((effect(done) if effect else None) or {})

    def _script(self, step: Step, definition: Json, env: Json) -> None:
        step.script = definition["run"]
        defaults: Json = {}
        for place in (self.execution.workflow, self.job.definition):
            defaults |= (place.get("defaults") or {}).get("run", {})
        folder = self.workspace / definition.get(
            "working-directory", defaults.get("working-directory", "")
        )
        if not folder.is_dir():
            raise ActionFailed(f"no folder {folder.relative_to(self.workspace)} to work in")
        files = {name: self.folder / f"{name}" for name in ("OUTPUT", "ENV", "PATH")}
        files["STEP_SUMMARY"] = self.folder / "SUMMARY"
        for file in files.values():
            file.write_text("")
        script = self.folder / "script"
        script.write_text(step.script)
        process = subprocess.Popen(
            _shell(definition.get("shell", defaults.get("shell", "")), script),
            cwd=folder,
            env=self._environment(env) | {f"GITHUB_{k}": str(file) for k, file in files.items()},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        try:
            step.log = process.communicate(timeout=_SECONDS)[0]
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            raise AssertionError(
                f"{step.name} still ran after {_SECONDS} s:\n{step.script}"
            ) from None
        finally:
            self.execution.done.trace += self.execution.runner.tools.take(self.job.name, step.name)
        step.outputs = _assignments(files["OUTPUT"])
        self.env |= _assignments(files["ENV"])
        self.path[:0] = reversed(files["PATH"].read_text().split("\n")[:-1])
        self.job.summary += files["STEP_SUMMARY"].read_text()
        if process.returncode:
            raise ActionFailed(f"Process completed with exit code {process.returncode}.\n")

    def _environment(self, env: Json) -> dict[str, str]:
        github = {k: v for k, v in self.contexts["github"].items() if isinstance(v, str)}
        github.pop("token")
        return {
            "CI": "true",
            "GITHUB_ACTIONS": "true",
            "LANG": "C.UTF-8",
            "HOME": str(self.home),
            **{f"GITHUB_{key.upper()}": value for key, value in github.items()},
            **{f"RUNNER_{key.upper()}": value for key, value in self.runner_context.items()},
            **{key: as_text(value) for key, value in env.items()},
            "PATH": ":".join([*self.path, str(self.execution.runner.tools.bin)]),
        }


def _needs(definition: Json) -> list[str]:
    needs: str | list[str] = definition.get("needs", [])
    return [needs] if isinstance(needs, str) else needs


def _matrix(matrix: Json) -> list[Json]:
    """The combinations, less `exclude`, with `include` added to those that it fits."""
    axes = {key: values for key, values in matrix.items() if key not in ("include", "exclude")}
    legs = [dict(zip(axes, each, strict=True)) for each in itertools.product(*axes.values())]
    for gone in matrix.get("exclude", []):
        legs = [leg for leg in legs if not gone.items() <= leg.items()]
    originals = [dict(leg) for leg in legs] if axes else []
    more: list[Json] = []
    for extra in matrix.get("include", []):
        fits = [
            leg
            for leg, original in zip(legs, originals, strict=False)
            if all(original.get(k, v) == v for k, v in extra.items())
        ]
        for leg in fits:
            leg |= extra
        if not fits:
            more.append(dict(extra))
    return [*(legs if axes or not more else []), *more]


def _shell(shell: str, script: Path) -> list[str]:
    """GitHub's command lines; the programs are real ones, whatever PATH says."""
    named = {
        "": "bash -e {0}",
        "bash": "bash --noprofile --norc -eo pipefail {0}",
        "sh": "sh -e {0}",
        "python": "python3 {0}",
    }
    words = shlex.split(named.get(shell, shell))
    return [shutil.which(words[0]) or words[0], *(x.replace("{0}", str(script)) for x in words[1:])]


def _assignments(file: Path) -> dict[str, str]:
    """``name=value`` and ``name<<END`` of a file that a step has written."""
    made: dict[str, str] = {}
    lines = iter(file.read_text().splitlines())
    for line in lines:
        if found := re.fullmatch(r"([^=<]+)<<(.+)", line):
            made[found[1]] = "\n".join(itertools.takewhile(lambda x: x != found[2], lines))
        elif "=" in line:
            name, _, value = line.partition("=")
            made[name] = value
        elif line:
            raise ActionFailed(f"Invalid format {line!r}")
    return made
