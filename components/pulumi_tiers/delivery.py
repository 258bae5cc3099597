"""What a stack writes to GitHub: a CIPipeline for each of its systems, with the values it knows."""

from collections.abc import Callable, Mapping
from typing import Any, cast

import pulumi

from pulumi_tiers.cluster import Cluster
from pulumi_tiers.model.github import GitHub
from pulumi_tiers.model.image import DOCKER_HUB
from pulumi_tiers.model.pipeline import Pipeline, PipelineSecret, SecretSource
from pulumi_tiers.model.system import Environment, System, Target
from pulumi_tiers.plan import Plan

Value = pulumi.Output[str] | str | None


def deliver(plan: Plan, cluster: Cluster | None) -> None:
    """Makes nothing, and asks nobody, where `tiers:github` is unset."""
    github = plan.settings.github
    if github is None:
        return
    from pulumi_tiers.ci_pipeline import CIPipeline, CIPipelineArgs
    from pulumi_tiers.platforms.github import provider

    options = pulumi.ResourceOptions(
        provider=provider("github", github.owner, base_url=github.base_url)
    )
    state = _state(plan, github)
    production = plan.settings.environment is Environment.PRODUCTION
    whole = production if github.repository_wide is None else github.repository_wide
    for system in plan.systems:
        if system.pipeline is None:
            continue
        values = _Values(plan, github, system, cluster, state)
        args = {
            **dict(system.pipeline),
            "system": system.name,
            "secrets": {
                name: secret.model_copy(update={"scope": github.scopes.get(name, secret.scope)})
                for name, secret in system.pipeline.secrets.items()
            },
            "repository": github.repositories.get(system.name, system.name),
            "branch": github.branch,
            "delivery": github.delivery,
            "edits": github.edits,
            "repository_wide": whole,
            "own_environments": [
                name
                for name, environment in system.pipeline.environments.items()
                if environment.environment is plan.settings.environment
            ],
            "secret_values": values.secrets(system.pipeline),
            "variable_values": values.variables(system.pipeline),
        }
        CIPipeline(f"{system.name}-ci", cast("CIPipelineArgs", args), options, planned=True)


def _state(plan: Plan, github: GitHub) -> Mapping[SecretSource, pulumi.Output[str]]:
    """The bucket that pipelines keep the stacks' state in."""
    if not github.state_bucket or plan.target is not Target.DIGITALOCEAN:
        return {}
    from pulumi_tiers.state_bucket import StateBucket

    bucket = StateBucket(
        "state",
        {
            "name": github.state_bucket,
            "region": plan.settings.digitalocean.region,
            "protect": plan.settings.protects,
        },
    )
    return {
        SecretSource.STATE_URL: bucket.backend_url,
        SecretSource.STATE_KEY_ID: bucket.access_key_id,
        SecretSource.STATE_KEY: bucket.secret_access_key,
    }


class _Values:
    """Where the values of a system's secrets come from. What a stack gives itself goes first."""

    def __init__(
        self,
        plan: Plan,
        github: GitHub,
        system: System,
        cluster: Cluster | None,
        state: Mapping[SecretSource, pulumi.Output[str]],
    ) -> None:
        self._settings = plan.settings
        self._github = github
        self._system = system
        self._cluster = cluster
        self._state = state

    def secrets(self, pipeline: Pipeline) -> dict[str, pulumi.Output[str]]:
        """Those that are known, all of them secret."""
        found = {name: self._secret(name, item) for name, item in pipeline.secrets.items()}
        return {
            name: pulumi.Output.secret(value) for name, value in found.items() if value is not None
        }

    def variables(self, pipeline: Pipeline) -> dict[str, str]:
        """Those that the stack gives."""
        given = {name: self._given(self._github.variables, name) for name in pipeline.variables}
        return {name: value for name, value in given.items() if value is not None}

    def _given(self, values: Mapping[str, Any], name: str) -> Any:
        return values.get(f"{self._system.name}/{name}", values.get(name))

    def _secret(self, name: str, secret: PipelineSecret) -> Value:
        given = self._given(self._github.secrets, name)
        if given is not None:
            return given
        known: dict[SecretSource, Callable[[], Value]] = {
            SecretSource.SYSTEM: lambda: self._of_system(name),
            SecretSource.CLUSTER_ID: lambda: self._cluster.cluster_id if self._cluster else None,
            SecretSource.KUBECONFIG: lambda: self._cluster.kubeconfig if self._cluster else None,
            SecretSource.DIGITALOCEAN_TOKEN: lambda: pulumi.Config("digitalocean").get_secret(
                "token"
            ),
            SecretSource.REGISTRY_USERNAME: lambda: self._login("username"),
            SecretSource.REGISTRY_PASSWORD: lambda: self._login("password"),
        }
        return known[secret.source]() if secret.source in known else self._state.get(secret.source)

    def _of_system(self, name: str) -> Value:
        key = f"{self._system.name}/{name}"
        return self._settings.secrets.get(key, self._settings.variables.get(key))

    def _login(self, part: str) -> Value:
        assert self._system.pipeline is not None
        host = self._system.pipeline.registry.host or DOCKER_HUB
        login = self._settings.registry_logins.get(host)
        return getattr(login, part) if login else None
