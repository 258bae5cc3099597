"""The network: who may speak to whom, by which name, and what is reached from outside."""

from collections.abc import Mapping, Sequence

import pulumi
import pulumi_kubernetes as kubernetes

from pulumi_tiers.component import Component
from pulumi_tiers.limits import public_ports
from pulumi_tiers.model.workload import Port, Workload
from pulumi_tiers.platforms.base import SiteRef, networks_of
from pulumi_tiers.platforms.kubernetes.metadata import metadata_of, network_label, selector_of
from pulumi_tiers.platforms.kubernetes.monitoring import metrics_port
from pulumi_tiers.platforms.kubernetes.namespaces import across, called
from pulumi_tiers.platforms.labels import CLUSTER_DOMAIN

#: 169.254.169.254 hands out the cloud's credentials.
EVERYWHERE: kubernetes.networking.v1.IPBlockArgsDict = {
    "cidr": "0.0.0.0/0",
    "except_": ["169.254.0.0/16"],
}
#: What a URL does not repeat.
_DEFAULT_PORTS = {"http": 80, "https": 443}


def make_network_policy(owner: Component, site: SiteRef, name: str, workload: Workload) -> None:
    """Lets others speak to the workload, and the workload to others."""
    kubernetes.networking.v1.NetworkPolicy(
        owner.child(name),
        metadata=metadata_of(site, name, name),
        spec=_network_policy(site, name, workload),
        opts=owner.child_options(),
    )


def _network_policy(
    site: SiteRef, name: str, workload: Workload
) -> kubernetes.networking.v1.NetworkPolicySpecArgsDict:
    """What is allowed beyond the namespace's default: DNS, and speaking to each other.

    Ports are open to the namespace's pods: to all of them, or to those in a network of the
    workload's. Who uses which is not known here (a variable with a host name is enough). Behind a
    load balancer, clients can have any address. Services may call the APIs of others, so they reach
    every address but the node's own services. Stores call nobody, nor does what is in internal
    networks only.
    """
    networks = networks_of(site, workload)
    ingress: kubernetes.networking.v1.NetworkPolicyIngressRuleArgsDict = {
        "ports": [{"port": port.target, "protocol": "TCP"} for port in workload.ports]
    }
    rules = [ingress]
    members: list[kubernetes.networking.v1.NetworkPolicyPeerArgsDict] = [
        {"pod_selector": {"match_labels": {network_label(network): "true"}}} for network in networks
    ] or [{"pod_selector": {}}]
    health = workload.healthcheck
    if health and health.port and health.port not in {port.target for port in workload.ports}:
        # Beside what it serves: an edge tells its numbers there, and its exporter alone asks.
        rules.append(
            {
                "from_": [
                    {"pod_selector": {"match_labels": selector_of(site, f"{name}-exporter")}}
                ],
                "ports": [{"port": health.port, "protocol": "TCP"}],
            }
        )
    if not public_ports(workload):
        ingress["from_"] = members
        if "collectors" in site:
            beside = called(site["collectors"])
            ingress["from_"] = [
                *members,
                *({**member, "namespace_selector": beside} for member in members),
            ]
        if workload.metrics and "service_monitors" in site:
            port = metrics_port(workload, workload.metrics)
            rules.append(
                {
                    "from_": [{"namespace_selector": called(site["service_monitors"])}],
                    "ports": [{"port": port, "protocol": "TCP"}],
                }
            )
    policy: kubernetes.networking.v1.NetworkPolicySpecArgsDict = {
        "pod_selector": {"match_labels": selector_of(site, name)},
        "policy_types": ["Ingress", "Egress"],
    }
    if workload.ports:  # a rule without ports would open all of them
        policy["ingress"] = rules
    internal = bool(networks) and all(item.get("internal") for item in networks.values())
    if not (workload.stateful or internal):
        policy["egress"] = [{"to": [{"ip_block": EVERYWHERE}]}]
    elif workload.discovers:
        # The API server's address is the cluster's choice.
        ports = [{"port": port, "protocol": "TCP"} for port in (443, 6443)]
        policy["egress"] = [{"to": [{"ip_block": EVERYWHERE}], "ports": ports}]
    return policy


def make_service(
    owner: Component,
    site: SiteRef,
    name: str,
    workload: Workload,
    cloud: Mapping[str, pulumi.Input[str]],
) -> list[pulumi.Input[str]]:
    """Makes the Service that gives the workload its host name. Returns the public URLs.

    `cloud`: annotations of a load balancer.
    """
    if not workload.ports:
        return []
    public = public_ports(workload)
    spec: kubernetes.core.v1.ServiceSpecArgsDict = {
        "selector": selector_of(site, name),
        "ports": [
            {
                "name": f"tcp-{port.target}",
                "port": public.get(port.target, port.target),
                "target_port": port.target,
                "protocol": "TCP",
            }
            for port in workload.ports
        ],
        "type": "LoadBalancer" if public else "ClusterIP",
    }
    if workload.per_node:
        spec["cluster_ip"] = "None"
    if workload.stateful:
        # Clients reach the server itself, and members of a cluster each other. A member must
        # find itself by its name before it can be ready.
        spec["cluster_ip"] = "None"
        spec["publish_not_ready_addresses"] = True
    if public and "source_ranges" in site:
        spec["load_balancer_source_ranges"] = site["source_ranges"]
    if public and workload.load_balancer.local:
        spec["external_traffic_policy"] = "Local"
    annotations = dict(cloud) if public else {}
    if not public or not site.get("await_load_balancers", True):
        # Its pods are waited for themselves. Waiting here too costs ten seconds a Service.
        annotations["pulumi.com/skipAwait"] = "true"
    service = kubernetes.core.v1.Service(
        owner.child(name),
        metadata=metadata_of(site, name, name, annotations),
        spec=spec,
        opts=owner.child_options(),
    )
    if workload.per_node:
        _alias(owner, site, name)
    address = service.status.apply(_address) if public else ""
    return [_url(port, address, public[port.target]) for port in workload.ports if public]


def make_peers(owner: Component, site: SiteRef, host: str, ports: Sequence[int]) -> str:
    """Makes a host name that resolves to every replica of a workload."""
    name = f"{host}-peers"
    kubernetes.core.v1.Service(
        owner.child(name),
        metadata=metadata_of(site, host, name, {"pulumi.com/skipAwait": "true"}),
        spec={
            "selector": selector_of(site, host),
            "cluster_ip": "None",
            # By other names than the workload's Service: a ServiceMonitor means that one.
            "ports": [{"name": f"peer-{port}", "port": port} for port in ports],
        },
        opts=owner.child_options(),
    )
    return name


def _alias(owner: Component, site: SiteRef, name: str) -> None:
    """The system, too, finds a collector by its name alone. A DNS name for all its pods."""
    here, there = site.get("namespace", ""), across(site)
    kubernetes.core.v1.Service(
        owner.child(f"{name}-alias"),
        metadata=metadata_of(there, name, name, {"pulumi.com/skipAwait": "true"}),
        spec={
            "type": "ExternalName",
            "external_name": pulumi.Output.concat(name, ".", here, CLUSTER_DOMAIN),
        },
        opts=owner.child_options(),
    )


def _address(status: kubernetes.core.v1.outputs.ServiceStatus | None) -> str:
    """What the load balancer is reached by: some clouds give an address, some a name."""
    balancer = status.load_balancer if status else None
    for ingress in (balancer.ingress if balancer else None) or []:
        return ingress.hostname or ingress.ip or "<pending>"
    return "<pending>"


def _url(port: Port, address: pulumi.Input[str], number: int) -> pulumi.Output[str]:
    suffix = "" if _DEFAULT_PORTS.get(port.scheme) == number else f":{number}"
    return pulumi.Output.concat(port.scheme, "://", address, suffix)
