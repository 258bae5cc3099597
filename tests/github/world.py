"""What exists behind the double: a test looks at it, and plays the people who change it."""

import base64
import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from nacl.public import PrivateKey, SealedBox

from github.errors import RefusedError, invalid, not_found
from github.routes import Json

Tree = Mapping[str, str]
"""Path -> text."""

_clock = datetime(2026, 1, 1, tzinfo=UTC)


def now() -> str:
    """A later time at each call: GitHub's own have whole seconds."""
    global _clock
    _clock += timedelta(seconds=1)
    return _clock.strftime("%Y-%m-%dT%H:%M:%SZ")


def blob(text: str) -> str:
    """What git calls this content."""
    data = text.encode()
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


@dataclass(frozen=True)
class Commit:
    sha: str
    message: str
    author: str
    tree: Tree
    parent: str
    changed: tuple[str, ...]
    """Paths; those of a deletion aren't in the tree."""


@dataclass
class Vault:
    """Secrets and variables of one scope, with the key that the former are encrypted for."""

    number: int
    private: PrivateKey = field(default_factory=PrivateKey.generate)
    secrets: dict[str, str] = field(default_factory=dict)
    """Decrypted."""
    variables: dict[str, str] = field(default_factory=dict)
    stamps: dict[str, tuple[str, str]] = field(default_factory=dict)
    """``secret/NAME`` -> created and updated."""
    details: dict[str, Json] = field(default_factory=dict)
    """``secret/NAME`` -> visibility and selected repositories, in an organization."""

    @property
    def key(self) -> Json:
        public = base64.b64encode(bytes(self.private.public_key)).decode()
        return {"key_id": str(self.number), "key": public}

    def decrypt(self, body: Json) -> str:
        if body.get("key_id") != str(self.number):
            raise RefusedError(422, "The key_id is not the current one")
        sealed = base64.b64decode(body["encrypted_value"])
        return SealedBox(self.private).decrypt(sealed).decode()

    def stamp(self, what: str) -> None:
        moment = now()
        created, _ = self.stamps.get(what, (moment, moment))
        self.stamps[what] = (created, moment)

    def times(self, what: str) -> Json:
        created, updated = self.stamps[what]
        return {"created_at": created, "updated_at": updated}


@dataclass
class Gate:
    """A deployment environment."""

    number: int
    rules: Json
    vault: Vault
    policies: dict[int, str] = field(default_factory=dict)


@dataclass
class Repository:
    """A repository with its history."""

    owner: str
    name: str
    number: int
    default_branch: str = "main"
    archived: bool = False
    commits: dict[str, Commit] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)
    pulls: dict[int, Json] = field(default_factory=dict)
    environments: dict[str, Gate] = field(default_factory=dict)
    rulesets: dict[int, Json] = field(default_factory=dict)
    vault: Vault = field(default_factory=lambda: Vault(1))

    def __post_init__(self) -> None:
        first = self._add(Commit("", "Initial commit", "octocat", {"README.md": "# x\n"}, "", ()))
        self.branches[self.default_branch] = first

    # --- git --------------------------------------------------------------------------------------

    def files(self, branch: str = "") -> Tree:
        return self.commits[self.head(branch)].tree

    def head(self, branch: str = "") -> str:
        name = branch or self.default_branch
        if name not in self.branches:
            raise not_found()
        return self.branches[name]

    def commit(
        self, branch: str, message: str, changes: Mapping[str, str | None], author: str = "person"
    ) -> str:
        """Somebody commits. None deletes a file."""
        before = self.commits[self.head(branch)]
        tree = {**before.tree, **{p: text for p, text in changes.items() if text is not None}}
        for path in [path for path, text in changes.items() if text is None]:
            del tree[path]
        made = Commit("", message, author, tree, before.sha, tuple(changes))
        self.branches[branch] = self._add(made)
        return self.branches[branch]

    def _add(self, commit: Commit) -> str:
        sha = hashlib.sha1(f"{len(self.commits)} {self.name} {commit}".encode()).hexdigest()
        made = Commit(
            sha, commit.message, commit.author, commit.tree, commit.parent, commit.changed
        )
        self.commits[sha] = made
        return sha

    def history(self, sha: str) -> Iterable[Commit]:
        while sha:
            commit = self.commits[sha]
            yield commit
            sha = commit.parent

    def merge(self, number: int, *, delete_branch: bool = True) -> None:
        """Somebody merges a pull request, squashed."""
        pull = self.pulls[number]
        branch, base = pull["head"]["ref"], pull["base"]["ref"]
        theirs, ours = self.files(branch), self.files(base)
        start = self.commits[pull["base"]["sha"]].tree
        changes: dict[str, str | None] = {
            path: theirs.get(path)
            for path in {*theirs, *start}
            if theirs.get(path) != start.get(path) and theirs.get(path) != ours.get(path)
        }
        self.commit(base, f"{pull['title']} (#{number})", changes)
        pull |= {"state": "closed", "merged": True, "merged_at": now(), "updated_at": now()}
        if delete_branch:
            del self.branches[branch]

    def delete_branch(self, branch: str) -> None:
        """Somebody deletes a branch: GitHub closes its pull requests."""
        del self.branches[branch]
        for pull in self.pulls.values():
            if pull["head"]["ref"] == branch and pull["state"] == "open":
                pull |= {"state": "closed", "updated_at": now()}

    def check_rules(self, branch: str) -> None:
        """Whether a direct commit is against an active ruleset."""
        for ruleset in self.rulesets.values():
            include = ruleset["conditions"]["ref_name"]["include"]
            default = "~DEFAULT_BRANCH" in include and branch == self.default_branch
            if f"refs/heads/{branch}" not in include and not default:
                continue
            kinds = {rule["type"] for rule in ruleset["rules"]}
            if ruleset["enforcement"] == "active" and kinds & {
                "pull_request",
                "required_status_checks",
            }:
                raise RefusedError(
                    409,
                    "Repository rule violations found\n\n"
                    "Changes must be made through a pull request.\n\n",
                )


@dataclass
class World:
    """An account with its repositories."""

    owner: str = "acme"
    organization: bool = True
    repositories: dict[str, Repository] = field(default_factory=dict)
    users: dict[str, int] = field(default_factory=lambda: {"octocat": 583231, "person": 4711})
    teams: dict[str, int] = field(default_factory=lambda: {"operators": 815})
    vault: Vault = field(default_factory=lambda: Vault(99))
    """The organization's."""
    numbers: int = 1000

    def number(self) -> int:
        self.numbers += 1
        return self.numbers

    def add(self, name: str) -> Repository:
        made = Repository(self.owner, name, self.number())
        made.vault = Vault(self.number())
        self.repositories[name] = made
        return made

    def repository(self, owner: str, name: str) -> Repository:
        if owner != self.owner or name not in self.repositories:
            raise not_found()
        return self.repositories[name]

    def by_number(self, number: str) -> Repository:
        for repository in self.repositories.values():
            if str(repository.number) == number:
                return repository
        raise not_found()

    def selected(self, ids: Iterable[int]) -> list[int]:
        known = {repository.number for repository in self.repositories.values()}
        if unknown := set(ids) - known:
            raise invalid(f"no repository {sorted(unknown)}")
        return sorted(ids)
