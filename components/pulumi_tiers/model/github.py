"""GitHub, as a stack says it: whose repositories, and how they are written to."""

import re
from typing import Annotated

from pydantic import AfterValidator

from pulumi_tiers.model.base import Flag, Model, Name, PlainText, Text, Word
from pulumi_tiers.model.cloud import SpacesName
from pulumi_tiers.model.errors import reject, shown
from pulumi_tiers.model.github_texts import BranchName, SecretName
from pulumi_tiers.model.pipeline import Scope
from pulumi_tiers.model.unknown import is_unknown

_OWNER = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9]|-(?=[A-Za-z0-9])){0,38}")
_REPOSITORY = re.compile(r"(?!\.{1,2}$)[A-Za-z0-9_.-]{1,100}")


def _owner(value: str) -> str:
    if not _OWNER.fullmatch(value) and not is_unknown(value):
        raise reject(
            f"{shown(value)} is neither a user of GitHub nor an organisation",
            "write its name as it stands in the repositories' addresses, such as 'octocat'",
        )
    return value


def _repository(value: str) -> str:
    if not _REPOSITORY.fullmatch(value) or value.endswith(".git"):
        raise reject(
            f"{shown(value)} is not a name that GitHub takes for a repository",
            "use at most 100 letters, digits, '-', '_' and '.', without the owner and '.git'",
        )
    return value


OwnerName = Annotated[str, AfterValidator(_owner)]
RepositoryName = Annotated[str, AfterValidator(_repository)]


class Delivery(Word):
    """How workflow files come into a repository."""

    #: On a branch of their own, with a pull request that people merge.
    PULL_REQUEST = "pull_request"
    #: As commits on the branch itself.
    DIRECT = "direct"


class Edits(Word):
    """What happens where somebody has changed a generated file by hand."""

    #: It is a mistake of the stack: nothing is changed until it is decided.
    REFUSE = "refuse"
    #: The file is generated again, and it is told that there was an edit.
    OVERWRITE = "overwrite"
    #: The file stays as people have it, and it is told that it differs.
    KEEP = "keep"


_SECRET_KEY = re.compile(r"(?:[a-z][a-z0-9-]*/)?(?!GITHUB_)[A-Z_][A-Z0-9_]{0,99}")


def _value_key(value: str) -> str:
    if not _SECRET_KEY.fullmatch(value):
        raise reject(
            f"{shown(value)} names no secret or variable of a pipeline",
            "write NAME for all systems of the stack, or <system>/NAME for one",
        )
    return value


ValueKey = Annotated[str, AfterValidator(_value_key)]
"""``NAME`` for all systems of the stack, or ``<system>/NAME`` for one."""


_MOST_BYTES = 48 * 1024
"""That GitHub takes as the value of a secret or a variable."""


def _value(value: object) -> object:
    # Of an Output, it is known later.
    if isinstance(value, str) and len(value.encode()) > _MOST_BYTES:
        raise reject(
            f"the value has {len(value.encode())} bytes", f"GitHub takes at most {_MOST_BYTES}"
        )
    return value


def _base_url(value: str) -> str:
    if is_unknown(value):
        return value
    remedy = "write it like 'https://github.example.com/'"
    if "@" in value:  # what stands before it may be a password
        raise reject("the address holds an '@'", f"{remedy}: the token is GITHUB_TOKEN")
    local = r"http://(127\.0\.0\.1|localhost)(:\d+)?"
    if not re.fullmatch(rf"(https://[A-Za-z0-9.-]+(:\d+)?|{local})/([\w./-]*/)?", value, re.ASCII):
        raise reject(
            f"{shown(value)} is not the address of a GitHub",
            f"{remedy}, with its '/' at the end: without TLS, others would see the token",
        )
    return value


class GitHub(Model):
    """What a stack does on GitHub. Without it, nothing is made there, and nobody is asked."""

    #: A user or an organisation.
    owner: OwnerName
    #: System -> its repository. Default: of the system's own name.
    repositories: dict[Name, RepositoryName] = {}
    #: That workflow files are for.
    branch: BranchName = "main"
    delivery: Delivery = Delivery.PULL_REQUEST
    edits: Edits = Edits.REFUSE
    #: This stack writes what a repository has once: files, secrets, protection. Others write their
    #: own environment only. Default: the stack of production does.
    repository_wide: Flag | None = None
    #: Values that no output of the program gives.
    secrets: dict[ValueKey, Annotated[Text, AfterValidator(_value)]] = {}
    variables: dict[ValueKey, Annotated[PlainText, AfterValidator(_value)]] = {}
    #: Name -> where it is kept. Default: the description's.
    scopes: dict[SecretName, Scope] = {}
    #: DigitalOcean: name of a bucket to make for the state of stacks, free in its whole region;
    #: pipelines get its address and keys.
    state_bucket: SpacesName | None = None
    #: What is only told otherwise is a mistake: production that nobody has to approve.
    strict: Flag = False
    #: Of GitHub Enterprise: ``https://github.example.com/``.
    base_url: Annotated[PlainText, AfterValidator(_base_url)] | None = None
