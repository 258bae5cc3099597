"""Names and texts, as GitHub Actions takes them."""

import re
from collections import Counter
from collections.abc import Mapping
from typing import Annotated, TypeVar

from pydantic import AfterValidator

from pulumi_tiers.model.base import PlainText, Variable
from pulumi_tiers.model.errors import reject, reject_all, shown
from pulumi_tiers.model.expression import check_expression, check_expressions, used_by, uses_of
from pulumi_tiers.model.image import Image

T = TypeVar("T")
M = TypeVar("M", bound=Mapping[str, object])

# --- texts ----------------------------------------------------------------------------------------

# What no editor shows: control characters, and those that turn the direction of what is read.
_UNSEEN = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ufffe\uffff]"
)


def _seen(value: str) -> str:
    if found := _UNSEEN.search(value):
        raise reject(
            f"this text holds a character that nobody sees: U+{ord(found[0]):04X}",
            "remove it (lines end with \\n alone)",
        )
    return value


def _line(value: str) -> str:
    if not value or len(value) > 500 or value != value.strip() or set(value) & {"\n", "\t"}:
        raise reject(
            f"{shown(value)} is not a line of text",
            "write at most 500 characters on one line, with no space at an end",
        )
    return value


def _plain(value: str) -> str:
    if "${{" in value:
        raise reject(
            f"{shown(value)} has an expression, which GitHub takes for text here", "write it out"
        )
    return value


Seen = Annotated[PlainText, AfterValidator(_seen)]
"""A text that an editor shows as it is. Of any length, and of many lines."""
Line = Annotated[Seen, AfterValidator(_line), AfterValidator(_plain)]


def _once(value: list[T]) -> list[T]:
    reject_all(
        ((position,), f"{shown(item)} stands here twice", "give it once")
        for position, item in enumerate(value)
        if str(item).lower() in {str(other).lower() for other in value[:position]}
    )
    return value


Once = AfterValidator(_once)
"""A list in which nothing stands twice, in whatever case."""


def _distinct(value: M) -> M:
    """GitHub takes two keys that differ in nothing but their case for the same."""
    count = Counter(key.lower() for key in value)
    reject_all(
        ((key,), f"'{key}' stands here twice: GitHub does not tell A from a", "rename one")
        for key in value
        if count[key.lower()] > 1
    )
    return value


Distinct = AfterValidator(_distinct)

# --- names ----------------------------------------------------------------------------------------

JOB_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,99}")
_SECRET = re.compile(r"(?!GITHUB_)[A-Z_][A-Z0-9_]{0,99}")
_BRANCH = re.compile(r"!?[A-Za-z0-9_*][A-Za-z0-9_./*?+-]{0,199}")
_ACTION = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]*/[A-Za-z0-9_.-]+(/[A-Za-z0-9_.-]+)*")


def _like(pattern: re.Pattern[str] | str, what: str, remedy: str) -> AfterValidator:
    """Refuses texts that are not `what`."""

    def check(value: str) -> str:
        if not re.fullmatch(pattern, value):
            raise reject(f"{shown(value)} is not {what}", remedy)
        return value

    return AfterValidator(check)


WorkflowFile = Annotated[
    str,
    _like(
        r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,62}\.ya?ml",
        "a name for a workflow's file",
        "write it like 'deploy.yml': GitHub reads files below .github/workflows that end in .yml or"
        " .yaml",
    ),
]
"""Name of a file below ``.github/workflows``."""


JobId = Annotated[
    str,
    _like(
        JOB_NAME,
        "a name that GitHub takes for a job or a step",
        "use letters, digits, '-' and '_', beginning with a letter or '_'",
    ),
]
"""The name of a job, a step or an output."""


SecretName = Annotated[
    str,
    _like(
        _SECRET,
        "a name that GitHub takes for a secret or a variable",
        "use capital letters, digits and '_', not beginning with a digit or GITHUB_",
    ),
]
"""The name of a secret or a variable on GitHub."""


def _secret_reference(value: str) -> str:
    if not _SECRET.fullmatch(value):
        # It may be the secret itself.
        raise reject(
            "this is not a name that GitHub takes for a secret or a variable",
            "write its name here, such as 'DOCKER_PASSWORD': capital letters, digits and '_'."
            " The value goes into tiers:github.secrets",
        )
    return value


SecretReference = Annotated[str, AfterValidator(_secret_reference)]
"""The name of a secret where people might write the secret: it is never repeated."""


EnvironmentName = Annotated[
    str,
    _like(
        r"[A-Za-z0-9](?:[A-Za-z0-9 _.-]{0,98}[A-Za-z0-9_])?",
        "a name for an environment on GitHub",
        "use at most 100 letters, digits, '-', '_', '.' and spaces",
    ),
]
"""The name of an environment on GitHub."""


def _branch(value: str) -> str:
    wrong = ".." in value or "//" in value or value.endswith(("/", ".", ".lock"))
    if wrong or not _BRANCH.fullmatch(value):
        raise reject(
            f"{shown(value)} is not a branch, nor a pattern of branches",
            "write it like 'main' or 'release/**'",
        )
    return value


Branch = Annotated[str, AfterValidator(_branch)]
"""A branch, or GitHub's pattern of some: ``release/**``. With ``!`` in front: not those."""


def _wanted_branch(value: str) -> str:
    if value.startswith("!"):
        raise reject(f"{shown(value)} leaves branches out", "name those that are meant")
    return value


def _one_branch(value: str) -> str:
    if set(value) & set("*?+!"):
        raise reject(f"{shown(value)} is a pattern, and is compared here", "name each branch")
    return value


BranchPattern = Annotated[Branch, AfterValidator(_wanted_branch)]
"""A branch, or a pattern of some."""
BranchName = Annotated[Branch, AfterValidator(_one_branch)]
"""One branch."""


def _repository_path(value: str) -> str:
    parts = value.split("/")
    # One spelling of each. Compose and Docker take what has a ':' for something else, and a shell's
    # command what begins with '-'; expressions are no paths.
    wrong = {"", ".."} & {*parts} or ("." in parts and value != ".") or value.startswith("-")
    wrong = wrong or {"\\", ":"} & {*value} or "${{" in value
    if len(value) > 500 or wrong or not value.isprintable() or value != value.strip():
        raise reject(
            f"{shown(value)} is not a path inside the repository",
            "write it from the repository's root on, such as 'backend/Dockerfile', or '.': without"
            " '..', ':' and '\\', and not beginning with '-'",
        )
    return value


def _one_path(value: str) -> str:
    if set(value) & {*"*?[]!"}:
        raise reject(f"{shown(value)} is a pattern of files", "name the file, or the folder")
    return value


RepositoryPath = Annotated[PlainText, AfterValidator(_repository_path), AfterValidator(_one_path)]
"""A file or a folder, from the repository's root on."""


def _path_filter(value: str) -> str:
    _repository_path(value.removeprefix("!").removesuffix("/**"))
    return value


PathFilter = Annotated[PlainText, AfterValidator(_path_filter)]
"""GitHub's pattern of files: ``backend/**``. With ``!`` in front, those are left out again."""


def _action(value: str) -> str:
    if "@" in value:
        raise reject(
            f"{shown(value)} names a version", "leave it out: all actions are pinned in one place"
        )
    if not _ACTION.fullmatch(value):
        raise reject(f"{shown(value)} is not an action", "write it like 'actions/checkout'")
    return value


ActionName = Annotated[str, AfterValidator(_action)]
"""An action without its version, such as ``actions/checkout``: `tiers actions` pins it."""


RunnerLabel = Annotated[
    str,
    _like(
        r"[A-Za-z0-9][A-Za-z0-9 _.-]{0,99}",
        "a runner's label",
        "write it like 'ubuntu-latest', 'self-hosted'",
    ),
]
"""A label of the machine that a job runs on."""


Reviewer = Annotated[
    str,
    _like(
        r"[A-Za-z0-9](?:[A-Za-z0-9]|-(?=[A-Za-z0-9])){0,38}(/[a-z0-9_-]{1,100})?",
        "a user of GitHub, nor a team",
        "write 'octocat', or 'my-organisation/my-team'",
    ),
]
"""A user, or a team as ``<organisation>/<team>``."""


def _repository(value: str) -> str:
    image = Image.parse(value)
    if image.tag or image.digest:
        raise reject(f"{shown(value)} has a tag", "leave it out: 'tags' has them")
    return value


ImageRepository = Annotated[PlainText, AfterValidator(_repository)]
"""An image without its tag: ``marcospaulo1991/encontros-tech``."""

# --- expressions ----------------------------------------------------------------------------------

GIVEN = frozenset({"GITHUB_TOKEN"})
"""GitHub itself gives it to every run."""


def _expressions(value: str) -> str:
    check_expressions(value)
    for context in ("secrets", "vars"):
        if "" in uses_of(value, context):
            raise reject(
                f"{shown(value)} uses all {context} at once",
                f"name the one that is needed: {context}.NAME",
            )
    return value


Expressions = Annotated[Seen, AfterValidator(_expressions)]
"""A text that may hold GitHub's expressions: ``${{ secrets.NAME }}``."""


def _label(value: str) -> str:
    if uses_of(_expressions(value), "secrets"):
        raise reject(f"{shown(value)} uses a secret, and everybody reads it", "leave it out")
    return value


Label = Annotated[Seen, AfterValidator(_line), AfterValidator(_label)]
"""A line that GitHub shows. It may hold expressions, without secrets."""


def _condition(value: str) -> str:
    if not value:
        return value
    if "${{" in value:
        raise reject(
            f"{shown(value)} is an expression in an expression", "leave out '${{' and '}}'"
        )
    check_expression(value)
    if used_by(value, "secrets"):
        raise reject(
            f"{shown(value)} uses a secret, which GitHub gives to no condition",
            "put whether it is set into 'env' of a step, and write that as the step's output",
        )
    return value


Condition = Annotated[Seen, AfterValidator(_condition)]
"""An expression of GitHub's that is true or false, without ``${{`` and ``}}``."""


def _list_expression(value: str) -> str:
    if not re.fullmatch(r"\$\{\{[^}]*\}\}", value):
        raise reject(
            f"{shown(value)} is not an expression of a list",
            "write it like ${{ fromJSON(needs.find.outputs.stacks) }}",
        )
    return value


ListExpression = Annotated[Expressions, AfterValidator(_list_expression)]


def _script(value: str) -> str:
    if "${{" in value:
        raise reject(
            "a shell executes what an expression brings, whoever wrote that",
            "put the expression into the step's 'env', and use the variable: \"$NAME\"",
        )
    if not value.strip():
        raise reject("the script is empty", "write it, or remove the step")
    return value


Script = Annotated[Seen, AfterValidator(_script)]
"""Lines for bash, which stops at the first one that fails."""

Env = Annotated[dict[Variable, Expressions], Distinct]
"""Environment variables."""
