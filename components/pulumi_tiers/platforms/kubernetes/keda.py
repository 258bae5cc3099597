"""KEDA (https://keda.sh) decides by the length of a queue how many replicas there are.

It is somebody else's: it runs in the cluster already, in the namespace that its chart calls so.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, cast

import pulumi
import pulumi_kubernetes as kubernetes

from pulumi_tiers.component import Component
from pulumi_tiers.engines import ENGINES
from pulumi_tiers.engines.base import Consumer, Scaler
from pulumi_tiers.model.references import substitute
from pulumi_tiers.model.store import Store
from pulumi_tiers.model.workload import Autoscale
from pulumi_tiers.platforms.base import ConnectionArgs, SiteRef
from pulumi_tiers.platforms.kubernetes.metadata import metadata_of, selector_of
from pulumi_tiers.platforms.labels import CLUSTER_DOMAIN, LABEL_NAMESPACE

_NAMESPACE = "keda"
_API = "keda.sh/v1alpha1"
#: Nothing becomes ready where KEDA isn't there, or has nobody to ask.
_ANNOTATIONS = {"pulumi.com/skipAwait": "true"}


def scale_by_queue(
    owner: Component,
    site: SiteRef,
    name: str,
    autoscale: Autoscale,
    queue: pulumi.Input[ConnectionArgs],
) -> None:
    """What KEDA needs for the Deployment: the queue, a login, and a way to the store."""
    helper = f"{name}-scaler"
    known = {field: _field(queue, field) for field in _FIELDS}
    namespace = pulumi.Output.from_input(site.get("namespace", ""))
    host = pulumi.Output.all(known["host"], namespace).apply(lambda both: _from_afar(*both))
    scaler = _scaler(name, autoscale, known, host)
    parameters = scaler.apply(lambda found: dict(found.secrets))
    secret = kubernetes.core.v1.Secret(
        owner.child(helper),
        metadata=metadata_of(site, name, helper),
        string_data=_login(known, host, parameters),
        opts=owner.child_options(),
    )
    authentication = kubernetes.apiextensions.CustomResource(
        owner.child(name),
        api_version=_API,
        kind="TriggerAuthentication",
        metadata=metadata_of(site, name, name, _ANNOTATIONS),
        spec={
            "secretTargetRef": parameters.apply(
                lambda found: [
                    {"parameter": parameter, "name": helper, "key": parameter}
                    for parameter in sorted(found)
                ]
            )
        },
        opts=owner.child_options(depends_on=[secret]),
    )
    kubernetes.networking.v1.NetworkPolicy(
        owner.child(helper),
        metadata=metadata_of(site, name, helper),
        # Where the store is outside, these are no pods.
        spec=_way_in(
            selector_of(site, known["host"].apply(_first_label)), known["port"].apply(int)
        ),
        opts=owner.child_options(),
    )
    triggers: list[Any] = [
        {
            "type": scaler.apply(lambda found: found.type),
            "metadata": scaler.apply(lambda found: dict(found.metadata)),
            "authenticationRef": {"name": name},
        }
    ]
    if autoscale.percent is not None:
        value = str(autoscale.percent)
        triggers.append({"type": "cpu", "metricType": "Utilization", "metadata": {"value": value}})
    kubernetes.apiextensions.CustomResource(
        owner.child(name),
        api_version=_API,
        kind="ScaledObject",
        metadata=metadata_of(site, name, name, _ANNOTATIONS),
        spec={
            "scaleTargetRef": {"name": name},
            "minReplicaCount": autoscale.min,
            "maxReplicaCount": autoscale.max,
            "triggers": triggers,
        },
        opts=owner.child_options(depends_on=[authentication]),
    )


def _scaler(
    name: str,
    autoscale: Autoscale,
    known: Mapping[str, pulumi.Output[str]],
    host: pulumi.Output[str],
) -> pulumi.Output[Scaler]:
    """How KEDA, which reaches the store as `host`, measures the queue. Nothing of it is secret."""
    assert autoscale.queue_name is not None
    assert autoscale.queue_length is not None
    length, called = autoscale.queue_length, autoscale.queue_name

    def found(parts: Mapping[str, str]) -> Scaler:
        engine = ENGINES.get(parts["engine"])
        consumer = Consumer(parts["user"], parts["database"])
        store = Store(engine=parts["engine"])
        scaler = engine.scaler(store, consumer, called, length) if engine else None
        if scaler is None:  # in Python, AppTier has said so
            raise pulumi.RunError(f"{name}: KEDA finds no queue in the store '{parts['engine']}'")
        # Only clouds' own servers are outside, and take nothing but TLS.
        server = {**parts, "tls": str(parts["host"] == parts["near"]).lower()}
        metadata = {
            key: substitute(text, lambda reference: str(server[reference.field]))
            for key, text in scaler.metadata.items()
        }
        return replace(scaler, metadata=metadata)

    return pulumi.Output.all(
        engine=known["engine"],
        user=known["user"],
        database=known["database"],
        near=known["host"],
        host=host,
        port=known["port"],
    ).apply(found)


def _login(
    known: Mapping[str, pulumi.Output[str]],
    host: pulumi.Output[str],
    parameters: pulumi.Output[dict[str, str]],
) -> pulumi.Output[dict[str, str]]:
    """The values of the scaler's secret parameters."""

    def found(parts: Mapping[str, Any]) -> dict[str, str]:
        # Where the store is outside, its URL has the whole name already.
        url = parts["url"].replace(f"@{parts['near']}:", f"@{parts['host']}:")
        secrets: Mapping[str, str] = parts["secrets"]
        return {
            key: substitute(text, lambda it: url if it.store == "server" else parts["password"])
            for key, text in secrets.items()
        }

    return pulumi.Output.secret(
        pulumi.Output.all(
            near=known["host"],
            host=host,
            url=known["url"],
            password=known["password"],
            secrets=parameters,
        ).apply(found)
    )


def _way_in(
    pods: Mapping[str, pulumi.Input[str]], port: pulumi.Output[int]
) -> kubernetes.networking.v1.NetworkPolicySpecArgsDict:
    """KEDA may speak to these pods on this port."""
    keda: kubernetes.networking.v1.NetworkPolicyPeerArgsDict = {
        "namespace_selector": {"match_labels": {LABEL_NAMESPACE: _NAMESPACE}}
    }
    return {
        "pod_selector": {"match_labels": pods},
        "policy_types": ["Ingress"],
        "ingress": [{"from_": [keda], "ports": [{"port": port, "protocol": "TCP"}]}],
    }


#: Of a connection. Each for itself, because only some are secret.
_FIELDS = ("engine", "host", "port", "user", "database", "password", "url")


def _field(queue: pulumi.Input[ConnectionArgs], field: str) -> pulumi.Output[str]:
    if isinstance(queue, Mapping):
        plain = cast("Mapping[str, pulumi.Input[str]]", queue)
        return pulumi.Output.from_input(plain.get(field, ""))
    # In other languages the whole connection is an output.
    later = cast("pulumi.Output[Mapping[str, str]]", pulumi.Output.from_input(queue))
    return later.apply(lambda connection: connection.get(field, ""))


def _from_afar(host: str, namespace: str) -> str:
    """The name by which a Service of the namespace is known in others."""
    return host if "." in host else f"{host}.{namespace}{CLUSTER_DOMAIN}"


def _first_label(host: str) -> str:
    return host.partition(".")[0][:63]
