"""A documented system's repository on the stand-in of GitHub, with its workflows and secrets."""

import hashlib
import json
import shutil
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from events import Event
from pulumi_tiers.model.errors import Mistake
from pulumi_tiers.model.pipeline import Pipeline, Scope
from pulumi_tiers.pipelines.planned import with_pipeline
from pulumi_tiers.pipelines.workflows import workflow_files
from pulumi_tiers.settings import Settings
from pulumi_tiers.systems import SYSTEMS
from runner import Gate, Run, Runner
from sandbox import ROOT
from stubs import Answer

OLD = "sha256:" + "0" * 64
"""The digest of what runs before."""
CHANGES = {
    "ocolecionador": ("OColecionadorBackEnd/Program.cs",),
    "encontros-tech": ("02-encontros-tech/main.py",),
    **dict.fromkeys(("vision", "nutrifitcoach", "pigmeu"), ("main.py",)),
}
"""A file whose change starts the delivery."""


@cache
def described(system: str, options: str = "{}") -> Pipeline:
    """The documented pipeline, and that of its stacks. `options`: JSON, as a stack would say."""
    settings = Settings.model_validate(
        {"environment": "production", "pipelines": {system: json.loads(options)}}
    )
    mistakes: list[Mistake] = []
    pipeline = with_pipeline(SYSTEMS[system](settings.environment), settings, mistakes).pipeline
    assert pipeline
    assert not mistakes, mistakes
    return pipeline


@cache
def files(system: str, options: str = "{}") -> dict[str, str]:
    """Name -> YAML."""
    made = workflow_files(described(system, options))
    return {path.rpartition("/")[2]: text for path, text in made.items()}


def digest(image: str) -> str:
    """What the stub of a registry tells of an image."""
    return f"{image}@sha256:{hashlib.sha256(image.encode()).hexdigest()}"


def ci(status: str = "completed", conclusion: str = "success", event: str = "push") -> str:
    """What GitHub tells of the runs of a workflow for a commit; first one that says nothing."""
    told = {"status": status, "conclusion": conclusion}
    other = {"event": "pull_request", "status": "completed", "conclusion": "failure"}
    return json.dumps([other, {"event": event, **told}])


@dataclass
class GitHub:
    """A repository of a system on the stand-in of GitHub, and what its runs can reach."""

    folder: Path
    system: str
    options: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.texts = files(self.system, json.dumps(self.options))
        pipeline = described(self.system, json.dumps(self.options))
        self.secrets = {name: f"the-{name.lower()}-itself" for name in pipeline.secrets}
        inner = {k for k, secret in pipeline.secrets.items() if secret.scope is Scope.ENVIRONMENT}
        own = {name: self.secrets[name] for name in inner}
        self.gates = {
            name: Gate(branches=(*environment.branches,) or ("**",), secrets=own)
            for name, environment in pipeline.environments.items()
        }
        checkout = self.folder / "checkout"
        example = ROOT / "examples" / "repositories" / self.system
        shutil.copytree(example, checkout, ignore=shutil.ignore_patterns(".*_cache", "__pycache__"))
        (self.folder / "runner").mkdir()
        self.runner = Runner(
            self.folder / "runner",
            checkout,
            secrets={name: text for name, text in self.secrets.items() if name not in inner},
            environments=self.gates,
        )
        self.tools = self.runner.tools
        self._answers(pipeline)

    def _answers(self, pipeline: Pipeline) -> None:
        deployed = [
            job.deploy
            for workflow in pipeline.workflows.values()
            for job in workflow.jobs.values()
            if job.deploy
        ]
        self.tools.answer(
            "docker buildx imagetools inspect",
            Answer(script='printf "sha256:%s\\n" "$(printf %s "$4" | sha256sum | head -c 64)"'),
        )
        before = {
            service: f"{image}:old@{OLD}"
            for one in deployed
            for service, image in one.images.items()
        }
        self.tools.answer("pulumi stack output --json", json.dumps({"images": before}))
        asked = [health.service for one in deployed for health in one.health if health.service]
        urls: dict[str, dict[str, list[str]]] = {}
        for each in asked:
            system, _, service = each.partition("/")
            urls.setdefault(system, {})[service] = [f"http://{service}.example"]
        self.tools.answer("pulumi stack output urls --json", json.dumps(urls))
        self.tools.answer("kubectl get service", "203.0.113.6")
        self.tools.answer("kubectl get deployment", "7")
        # An environment of Python's own; what is called in it are the stubs.
        tools = 'mkdir -p .venv/bin; ln -s "$(command -v pip)" .venv/bin/pip'
        self.tools.answer("python -m venv", Answer(script=tools))
        self.tools.answer("gh run list", "[]", ci("in_progress", ""), ci())
        self.tools.answer("eas build", Answer(script="touch build/app-preview.apk"))

    def push(self, branch: str = "main", *changed: str) -> dict[str, Run]:
        return self.happens(Event("push", branch, changed=changed or CHANGES[self.system]))

    def run(self, file: str, branch: str = "main") -> Run:
        """The run of one workflow for a push."""
        return self.happens(Event("push", branch, changed=CHANGES[self.system]), file)[file]

    def happens(self, event: Event, *only: str) -> dict[str, Run]:
        """The runs that it starts; none of them shows a secret to anybody."""
        texts = {file: text for file, text in self.texts.items() if not only or file in only}
        runs = self.runner.trigger(texts, event)
        for run in runs.values():
            # The one command that doctl has for it takes the ID, which opens nothing by itself.
            hidden = {k: text for k, text in self.secrets.items() if k != "K8S_CLUSTER_ID"}
            assert run.leaks(hidden) == []
        return runs
