"""What a pipeline becomes on GitHub. The only place with its provider.

A resource of the provider knows a file as it was when the engine last looked. Here files are read
first, so an edit by hand is seen by a plain `pulumi up` too, and each write is a new resource over
the file as it is now. None of them is ever deleted with its resource: what is in a repository
belongs to those who work in it.
"""

import base64
import hashlib
import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pulumi
import pulumi_github as github

from pulumi_tiers.component import Component, refuse
from pulumi_tiers.model.errors import Mistake
from pulumi_tiers.model.github import Delivery, Edits
from pulumi_tiers.model.pipeline import DeploymentEnvironment, Protection
from pulumi_tiers.pipelines.seal import is_edited, is_same

_WORKFLOWS = ".github/workflows"
_RIGHTS = (
    "a fine-grained token needs, for this repository, read and write of: Administration, Contents,"
    " Environments, Pull requests, Secrets, Variables, Workflows, and to read Actions"
)
_REMEDIES = {
    "401": "GITHUB_TOKEN (or github:token) holds no valid token: make a new one",
    "403": f"the token may not do this: {_RIGHTS}",
    "404": f"check the name, and the token: {_RIGHTS}",
    "429": "GitHub takes no more requests for now: wait some minutes",
    "rate limit": "GitHub takes no more requests for now: wait up to an hour",
}


def provider(name: str, owner: str, *, base_url: str | None = None) -> pulumi.ProviderResource:
    """The account of a user or an organisation.

    Its token is `github:token` of the stack, or GITHUB_TOKEN. Raises RunError where GITHUB_OWNER
    names another account: the plugin would take that one.
    """
    other = os.environ.get("GITHUB_OWNER", owner)
    if other.lower() != owner.lower():
        raise pulumi.RunError(
            f"GITHUB_OWNER is {other}, and this stack is for {owner}: the plugin would write to"
            f" {other}'s repositories. Unset it"
        )
    token = pulumi.Config("github").get_secret("token")
    return github.Provider(name, owner=owner, base_url=base_url, token=token)


@dataclass(frozen=True)
class Repository:
    """A repository that exists."""

    owner: str
    name: str
    number: int

    @property
    def full_name(self) -> str:
        return f"{self.owner}/{self.name}"


def find_repository(owner: Component, name: str) -> Repository:
    """Raises RunError if it isn't there, or may not be seen or written."""
    try:
        found = github.get_repository(name=name, opts=_asking(owner))
    except Exception as error:
        raise _failure(owner, f"the repository {name} can't be looked up", error) from None
    if not found.full_name:
        raise pulumi.RunError(
            f"{_title(owner)}: there is no repository '{name}' that this token may see:"
            f" {_REMEDIES['404']}"
        )
    if found.archived:
        raise pulumi.RunError(
            f"{_title(owner)}: the repository {found.full_name} is archived: unarchive it, or"
            " remove 'repository'"
        )
    account = found.full_name.partition("/")[0]
    return Repository(account, name, int(found.repo_id))


# --- secrets and variables ------------------------------------------------------------------------


def make_secret(
    owner: Component,
    repository: Repository,
    name: str,
    value: pulumi.Input[str],
    environment: github.RepositoryEnvironment | None = None,
) -> pulumi.Resource:
    """A secret of a repository, or of one of its environments."""
    if environment is None:
        return github.ActionsSecret(
            owner.child(f"secret-{name}"),
            repository=repository.name,
            secret_name=name,
            value=value,
            opts=owner.child_options(),
        )
    return github.ActionsEnvironmentSecret(
        f"{environment._name}-secret-{name}",
        repository=repository.name,
        environment=environment.environment,
        secret_name=name,
        value=value,
        opts=owner.child_options(),
    )


def make_variable(
    owner: Component,
    repository: Repository,
    name: str,
    value: pulumi.Input[str],
    environment: github.RepositoryEnvironment | None = None,
) -> pulumi.Resource:
    """A variable of a repository, or of one of its environments."""
    if environment is None:
        return github.ActionsVariable(
            owner.child(f"variable-{name}"),
            repository=repository.name,
            variable_name=name,
            value=value,
            opts=owner.child_options(),
        )
    return github.ActionsEnvironmentVariable(
        f"{environment._name}-variable-{name}",
        repository=repository.name,
        environment=environment.environment,
        variable_name=name,
        value=value,
        opts=owner.child_options(),
    )


def make_organization_secret(
    owner: Component, name: str, value: pulumi.Input[str], readers: Sequence[Repository]
) -> pulumi.Resource:
    """A secret of the organisation, for these repositories."""
    secret = github.ActionsOrganizationSecret(
        owner.child(f"organization-secret-{name}"),
        secret_name=name,
        value=value,
        visibility="selected",
        opts=owner.child_options(),
    )
    return github.ActionsOrganizationSecretRepositories(
        owner.child(f"organization-secret-{name}-repositories"),
        secret_name=secret.secret_name,
        selected_repository_ids=[repository.number for repository in readers],
        opts=owner.child_options(),
    )


def make_organization_variable(
    owner: Component, name: str, value: pulumi.Input[str], readers: Sequence[Repository]
) -> pulumi.Resource:
    """A variable of the organisation, for these repositories."""
    return github.ActionsOrganizationVariable(
        owner.child(f"organization-variable-{name}"),
        variable_name=name,
        value=value,
        visibility="selected",
        selected_repository_ids=[repository.number for repository in readers],
        opts=owner.child_options(),
    )


# --- environments and protection ------------------------------------------------------------------


def make_environment(
    owner: Component, repository: Repository, name: str, described: DeploymentEnvironment
) -> github.RepositoryEnvironment:
    """Raises RunError if a reviewer doesn't exist."""
    teams = [reviewer for reviewer in described.reviewers if "/" in reviewer]
    users = [reviewer for reviewer in described.reviewers if "/" not in reviewer]
    reviewers: list[github.RepositoryEnvironmentReviewerArgsDict] = [
        {
            "users": [_number(owner, "user", f"users/{user}") for user in users],
            "teams": [
                _number(owner, "team", f"orgs/{account}/teams/{slug}")
                for account, _, slug in (team.partition("/") for team in teams)
            ],
        }
    ]
    patterns: github.RepositoryEnvironmentDeploymentBranchPolicyArgsDict = {
        "protected_branches": False,
        "custom_branch_policies": True,
    }
    environment = github.RepositoryEnvironment(
        owner.child(f"environment-{name}"),
        repository=repository.name,
        environment=name,
        reviewers=reviewers if described.reviewers else None,
        prevent_self_review=described.prevent_self_review,
        wait_timer=described.wait_minutes,
        deployment_branch_policy=patterns if described.branches else None,
        opts=owner.child_options(),
    )
    for branch in described.branches:
        github.RepositoryEnvironmentDeploymentPolicy(
            owner.child(f"environment-{name}-branch-{branch}"),
            repository=repository.name,
            environment=environment.environment,
            branch_pattern=branch,
            opts=owner.child_options(),
        )
    return environment


def _number(owner: Component, what: str, endpoint: str) -> int:
    """What GitHub calls a user or a team."""
    found = _ask(owner, endpoint)
    if found is None:
        name = endpoint.partition("/")[2].replace("/teams/", "/")
        # GitHub says the same of a team that the token may not see.
        seen = ", or let the token read the organisation's members" if what == "team" else ""
        raise pulumi.RunError(
            f"{_title(owner)}: GitHub has no {what} '{name}', who is to approve deployments:"
            f" correct 'reviewers'{seen}"
        )
    return int(found["id"])


def protect(
    owner: Component,
    repository: Repository,
    protection: Protection,
    checks: Sequence[str],
    after: Sequence[pulumi.Resource],
) -> None:
    """A ruleset: beside it, those that people made stay, and the strictest of all wins."""
    rules: github.RepositoryRulesetRulesArgsDict = {
        "deletion": True,
        "non_fast_forward": True,
        "pull_request": {"required_approving_review_count": protection.reviews},
    }
    if checks:
        rules["required_status_checks"] = {
            "required_checks": [{"context": check} for check in checks],
            "strict_required_status_checks_policy": True,
        }
    github.RepositoryRuleset(
        owner.child("protection"),
        name=owner.logical_name,
        repository=repository.name,
        target="branch",
        enforcement="active",
        conditions={
            "ref_name": {
                "includes": [f"refs/heads/{branch}" for branch in protection.branches],
                "excludes": [],
            }
        },
        rules=rules,
        opts=owner.child_options(depends_on=list(after)),
    )


# --- files ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Files:
    """Files for a branch of a repository."""

    repository: Repository
    branch: str
    texts: Mapping[str, str]
    """Path -> text, sealed."""


def deliver(
    owner: Component,
    files: Files,
    delivery: Delivery,
    edits: Edits,
    after: Sequence[pulumi.Resource] = (),
) -> list[pulumi.Resource]:
    """Puts the files where they belong, after others are there.

    Raises RefusedError where somebody has edited one, unless `edits` says what to do then.
    """
    head = _head(owner, files)
    present = {path: _read(owner, files, path) for path in files.texts}
    wanted = _without_edits(owner, files, present, edits)
    _tell_of_others(owner, files)
    if delivery is Delivery.DIRECT:
        return [_commit(owner, files, path, present[path], head, after) for path in wanted]
    return _propose(owner, files, {path: present[path] for path in wanted}, after)


def _head(owner: Component, files: Files) -> str:
    """The commit that the branch is at."""
    name, branch = files.repository.full_name, files.branch
    try:
        found = github.get_branch(
            repository=files.repository.name, branch=branch, opts=_asking(owner)
        )
    except Exception as error:
        raise _failure(owner, f"the branch {branch} of {name} can't be read", error) from None
    if not found.sha:
        raise pulumi.RunError(
            f"{_title(owner)}: {name} has no branch '{branch}': make it with a first commit, or"
            " correct 'branch'"
        )
    return found.sha


def _read(owner: Component, files: Files, path: str) -> str | None:
    """The file as it is now."""
    found = _ask(owner, f"repos/{files.repository.full_name}/contents/{path}?ref={files.branch}")
    if found is None:
        return None
    # Of a folder, a list. A link has no content.
    content = found.get("content") if isinstance(found, dict) else None
    return base64.b64decode(content or "").decode(errors="replace")


def _without_edits(
    owner: Component, files: Files, present: Mapping[str, str | None], edits: Edits
) -> list[str]:
    """The paths that may be written."""
    edited = [
        path
        for path, text in files.texts.items()
        if (there := present[path]) is not None and is_edited(there) and not is_same(there, text)
    ]
    where = f"on the branch {files.branch} of {files.repository.full_name}"
    if edits is Edits.REFUSE:
        refuse(
            Mistake(
                f"{_title(owner)}: {path}",
                f"was edited by hand {where}",
                "put the edit into the description and take it back there; or set 'edits':"
                " 'overwrite' writes the description's file over it, 'keep' leaves it as it is",
            )
            for path in edited
        )
    for path in edited:
        what = {
            Edits.OVERWRITE: "the description's file is written over it; git keeps the edit",
            Edits.KEEP: "it stays as it is, and differs from the description",
        }[edits]
        pulumi.log.warn(f"{path} was edited by hand {where}: {what}", owner)
    return [path for path in files.texts if edits is not Edits.KEEP or path not in edited]


def _tell_of_others(owner: Component, files: Files) -> None:
    """Workflows that were made once and aren't described any more would go on running."""
    at = f"repos/{files.repository.full_name}/contents/{_WORKFLOWS}?ref={files.branch}"
    listed = _ask(owner, at)
    for entry in listed if isinstance(listed, list) else ():
        path = str(entry["path"])
        if path in files.texts or entry["type"] != "file":
            continue
        if not is_edited(_read(owner, files, path) or ""):
            pulumi.log.warn(
                f"{path} on the branch {files.branch} of {files.repository.full_name} was made by"
                " tiers, and is not part of this pipeline any more: it goes on running until you"
                " delete it",
                owner,
            )


def _commit(
    owner: Component,
    files: Files,
    path: str,
    present: str | None,
    head: str,
    after: Sequence[pulumi.Resource],
) -> pulumi.Resource:
    """A commit on the branch itself, if the file isn't there as it should be."""
    text = files.texts[path]
    if present is not None and is_same(present, text):
        # Whatever the state says of it, or nothing: the file is right.
        options = owner.child_options(
            import_=f"{files.repository.name}:{path}:{files.branch}",
            ignore_changes=["content", "commitMessage", "overwriteOnCreate"],
            retain_on_delete=True,
        )
        message = ""
    else:
        options = owner.child_options(
            # Only creating looks at the file first. The commit before makes each write another.
            replace_on_changes=["content", "commitMessage"],
            retain_on_delete=True,
            depends_on=list(after),
        )
        message = f"Write {path} as the system's description says\n\nAfter {head}. [skip ci]"
    return github.RepositoryFile(
        owner.child(f"file-{path}"),
        repository=files.repository.name,
        branch=files.branch,
        file=path,
        content=text,
        commit_message=message,
        overwrite_on_create=True,
        opts=options,
    )


def _propose(
    owner: Component,
    files: Files,
    present: Mapping[str, str | None],
    after: Sequence[pulumi.Resource],
) -> list[pulumi.Resource]:
    """A pull request with what differs, from a branch of its own."""
    changed = {
        path: (there, files.texts[path])
        for path, there in present.items()
        if there is None or not is_same(there, files.texts[path])
    }
    if not changed:
        return []
    repository = files.repository
    change = hashlib.sha256(json.dumps(changed, sort_keys=True).encode()).hexdigest()[:10]
    branch_name = f"tiers/{owner.logical_name}-{change}"
    if refused := _closed(owner, files, branch_name):
        pulumi.log.warn(
            f"the pull request {refused} with these workflow files was closed, so they are not"
            f" proposed again: reopen it, or change the description. They would change"
            f" {', '.join(changed)}",
            owner,
        )
        return []
    # People delete branches that were merged; the engine would fail at that.
    kept = {"retain_on_delete": True, "ignore_changes": ["content", "commitMessage"]}
    branch = github.Branch(
        owner.child(f"branch-{change}"),
        repository=repository.name,
        branch=branch_name,
        source_branch=files.branch,
        opts=owner.child_options(retain_on_delete=True, depends_on=list(after)),
    )
    written: list[pulumi.Resource] = [
        github.RepositoryFile(
            owner.child(f"file-{change}-{path}"),
            repository=repository.name,
            branch=branch.branch,
            file=path,
            content=text,
            commit_message=f"Write {path} as the system's description says",
            overwrite_on_create=True,
            opts=owner.child_options(**kept),
        )
        for path, (_, text) in changed.items()
    ]
    request = github.RepositoryPullRequest(
        owner.child("pull-request"),
        base_repository=repository.name,
        base_ref=files.branch,
        head_ref=branch.branch,
        title=f"Workflows of {owner.logical_name}, as described",
        body="Made by tiers from the system's description. When it is merged, the stack's next"
        " run follows. Closed without a merge, it is not proposed again until the description"
        " changes.",
        opts=owner.child_options(depends_on=written, ignore_changes=["title", "body"]),
    )
    return [request]


def _closed(owner: Component, files: Files, branch: str) -> str:
    """The address of a pull request that people have closed, or merged and taken back."""
    repository = files.repository
    query = f"head={repository.owner}:{branch}&state=all"
    found: Any = _ask(owner, f"repos/{repository.full_name}/pulls?{query}") or []
    states = {pull["state"]: f"#{pull['number']}" for pull in found}
    return "" if "open" in states else states.get("closed", "")


# --- asking ---------------------------------------------------------------------------------------


def _asking(owner: Component) -> pulumi.InvokeOptions:
    return pulumi.InvokeOptions(parent=owner)


def _ask(owner: Component, endpoint: str) -> Any:
    """What GitHub answers; None if it isn't there."""
    try:
        # The provider's own question for a file fails at files whose history it can't follow.
        answer = github.get_rest_api(endpoint=endpoint, opts=_asking(owner))
    except Exception as error:
        raise _failure(owner, f"{endpoint.partition('?')[0]} can't be read", error) from None
    return None if answer.code == 404 else json.loads(answer.body)


def _failure(owner: Component, what: str, error: Exception) -> pulumi.RunError:
    """The provider's own words without the engine's around them, and what to do."""
    said = str(error)
    reason = (
        re.findall(r"\b[A-Z]+ https?://\S+: .*", said) or said.strip().splitlines() or [said]
    )[-1]
    remedy = next((remedy for sign, remedy in _REMEDIES.items() if sign in reason), "")
    return pulumi.RunError(": ".join(filter(None, (_title(owner), what, reason, remedy))))


def _title(owner: Component) -> str:
    return f"{type(owner).__name__} {owner.logical_name}"
