"""What happens on GitHub, and whether a workflow is started by it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from expressions import selected

SHA = "8f3c1d2e5a6b7c8d9e0f1a2b3c4d5e6f7a8b9c0d"

Json = dict[str, Any]


@dataclass(frozen=True)
class Event:
    """What happens on GitHub. `branch`: pushed to, of the pull request, or of the run before."""

    name: str
    branch: str = "main"
    sha: str = SHA
    changed: tuple[str, ...] = ("README.md",)
    action: str = ""
    fork: bool = False
    base: str = "main"
    title: str = "A change"
    workflow: str = ""
    conclusion: str = "success"
    inputs: Mapping[str, Any] = field(default_factory=dict)
    cron: str = ""
    tag: str = ""
    repository: str = "acme/shop"
    payload: Mapping[str, Any] = field(default_factory=dict)

    @property
    def ref(self) -> str:
        match self.name:
            case "pull_request":
                return "refs/pull/7/merge"
            case "push" | "workflow_dispatch":
                return f"refs/tags/{self.tag}" if self.tag else f"refs/heads/{self.branch}"
            case _:
                return "refs/heads/main"

    @property
    def untrusted(self) -> bool:
        """Without secrets, and with a token that only reads."""
        return self.name == "pull_request" and self.fork

    def body(self) -> Json:
        """What actions and scripts read as the event."""
        head = {"full_name": "stranger/shop" if self.fork else self.repository, "fork": self.fork}
        made: Json = {"repository": {"full_name": self.repository, "default_branch": "main"}}
        match self.name:
            case "pull_request" | "pull_request_target":
                made |= {"action": self.action or "opened", "number": 7}
                made["pull_request"] = {
                    "number": 7,
                    "title": self.title,
                    "body": self.title,
                    "draft": False,
                    "head": {"ref": self.branch, "sha": self.sha, "repo": head},
                    "base": {"ref": self.base, "sha": "b" * 40},
                }
            case "workflow_run":
                made |= {"action": self.action or "completed"}
                made["workflow_run"] = {
                    "id": 11,
                    "name": self.workflow,
                    "conclusion": self.conclusion,
                    "event": "pull_request" if self.fork else "push",
                    "head_sha": self.sha,
                    "head_branch": self.branch,
                    "head_repository": head,
                }
            case "workflow_dispatch":
                made["inputs"] = dict(self.inputs)
            case "schedule":
                made["schedule"] = self.cron
            case _:
                made |= {"ref": self.ref, "after": self.sha, "before": "a" * 40}
        return {**made, **self.payload}

    def starts(self, on: Any) -> bool:
        """Whether a workflow with this ``on:`` runs."""
        if isinstance(on, str):
            return on == self.name
        if self.name not in on:
            return False
        given: Any = (on[self.name] if isinstance(on, Mapping) else None) or {}
        if self.name == "schedule":
            return any(each["cron"] == self.cron for each in given)
        names = ["opened", "synchronize", "reopened"] if self.name == "pull_request" else []
        types = given.get("types", names)
        if types and self.body().get("action") not in types:
            return False
        if self.name == "workflow_run" and self.workflow not in given["workflows"]:
            return False
        return self._on_branch(given) and self._touches(given)

    def _on_branch(self, given: Json) -> bool:
        kind, other = ("tags", "branches") if self.tag else ("branches", "tags")
        name = self.tag or (self.base if self.name.startswith("pull_request") else self.branch)
        if kind in given:
            return selected(name, given[kind])
        if f"{kind}-ignore" in given:
            return not selected(name, given[f"{kind}-ignore"])
        return other not in given and f"{other}-ignore" not in given

    def _touches(self, given: Json) -> bool:
        # GitHub doesn't look at the paths of a tag.
        if self.tag:
            return True
        if "paths" in given:
            return any(selected(path, given["paths"]) for path in self.changed)
        ignored = given.get("paths-ignore", [])
        return not ignored or not all(selected(path, ignored) for path in self.changed)
