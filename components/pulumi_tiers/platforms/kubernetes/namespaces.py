"""Namespaces: what their pods may be, and who may speak through their ends."""

from collections.abc import Mapping, Sequence

import pulumi
import pulumi_kubernetes as kubernetes

from pulumi_tiers.component import Component
from pulumi_tiers.platforms.base import SiteRef
from pulumi_tiers.platforms.labels import LABEL_NAMESPACE


def make_namespaces(
    owner: Component, ref: SiteRef, namespace: str
) -> tuple[SiteRef, dict[str, pulumi.Output[str]]]:
    """The ref with its namespaces, and these by the beginning of the names in them."""
    # All claims go with their namespace.
    protect = ref.get("protect", False)
    name = _namespace(owner, ref, "namespace", namespace, _pod_security("restricted"), protect)
    opened: SiteRef = {**ref, "namespace": name}
    places = {"": name}
    if "collectors" in ref:
        # They see folders of their nodes, which every other profile refuses.
        profile = _pod_security("privileged")
        beside = _namespace(owner, ref, "collectors", ref["collectors"], profile)
        opened["collectors"] = places["collectors-"] = beside
    for prefix, place in places.items():
        _close(owner, opened, prefix, place, [own for own in places.values() if own != place])
    return opened, places


def _namespace(
    owner: Component,
    ref: SiteRef,
    child: str,
    name: pulumi.Input[str],
    profile: Mapping[str, str],
    protect: bool = False,
) -> pulumi.Output[str]:
    made = kubernetes.core.v1.Namespace(
        owner.child(child),
        metadata={"name": name, "labels": {**ref["labels"], **profile}},
        opts=owner.child_options(protect=protect),
    )
    return made.metadata.name.apply(lambda known: str(known))


def _pod_security(profile: str) -> dict[str, str]:
    """https://kubernetes.io/docs/concepts/security/pod-security-standards/"""
    modes = ("enforce", "warn", "audit")
    return {f"pod-security.kubernetes.io/{mode}": profile for mode in modes}


def _close(
    owner: Component,
    ref: SiteRef,
    prefix: str,
    namespace: pulumi.Output[str],
    others: Sequence[pulumi.Output[str]],
) -> None:
    """Nothing goes into the namespace; nothing out but to DNS and to the system's namespaces."""
    kubernetes.networking.v1.NetworkPolicy(
        owner.child(f"{prefix}default-deny"),
        metadata={"name": "default-deny", "namespace": namespace, "labels": ref["labels"]},
        spec={"pod_selector": {}, "policy_types": ["Ingress", "Egress"]},
        opts=owner.child_options(),
    )
    kubernetes.networking.v1.NetworkPolicy(
        owner.child(f"{prefix}allow-internal"),
        metadata={"name": "allow-internal", "namespace": namespace, "labels": ref["labels"]},
        spec={
            "pod_selector": {},
            "policy_types": ["Egress"],
            "egress": [
                # Who may be spoken to is the other side's decision: see `network.py`.
                {
                    "to": [
                        {"pod_selector": {}},
                        *({"namespace_selector": called(other)} for other in others),
                    ]
                },
                {
                    "to": [
                        {"namespace_selector": called("kube-system")},
                        # The address of a DNS cache on each node, where there is one.
                        {"ip_block": {"cidr": "169.254.20.10/32"}},
                    ],
                    "ports": [{"port": 53, "protocol": "UDP"}, {"port": 53, "protocol": "TCP"}],
                },
            ],
        },
        opts=owner.child_options(),
    )


def called(namespace: pulumi.Input[str]) -> kubernetes.meta.v1.LabelSelectorArgsDict:
    """Selects the namespace of this name."""
    return {"match_labels": {LABEL_NAMESPACE: namespace}}


def across(site: SiteRef) -> SiteRef:
    """The site as it is seen from its other namespace."""
    assert "namespace" in site, "Place has looked for it"
    assert "collectors" in site, "AppTier has looked for it"
    return {**site, "namespace": site["collectors"], "collectors": site["namespace"]}
