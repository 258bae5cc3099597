"""Any Kubernetes: one namespace per system, under Pod Security's "restricted" profile.

What a workload becomes: `controllers.py` and `pods.py`, with `health.py`, `storage.py` and
`secrets.py`. Who reaches it: `network.py`. How many there are: `scaling.py`.
"""

from collections.abc import Mapping, Sequence
from typing import ClassVar

import pulumi
import pulumi_kubernetes as kubernetes

from pulumi_tiers.component import Component
from pulumi_tiers.model.image import RegistryLogin
from pulumi_tiers.model.workload import Workload
from pulumi_tiers.platforms.base import After, ConnectionArgs, Platform, Running, SiteRef, ready
from pulumi_tiers.platforms.kubernetes.controllers import make_controller
from pulumi_tiers.platforms.kubernetes.metadata import metadata_of, selector_of
from pulumi_tiers.platforms.kubernetes.monitoring import make_account, make_service_monitor
from pulumi_tiers.platforms.kubernetes.namespaces import across, make_namespaces
from pulumi_tiers.platforms.kubernetes.network import make_network_policy, make_peers, make_service
from pulumi_tiers.platforms.kubernetes.scaling import make_autoscaler
from pulumi_tiers.platforms.kubernetes.secrets import make_pull_secret, make_texts
from pulumi_tiers.platforms.kubernetes.storage import make_claims


class KubernetesPlatform(Platform):
    """The cluster is the one of the Kubernetes provider that the components are given."""

    #: Of nodes: the kind of their GPUs, as NVIDIA's feature discovery writes it.
    gpu_label: ClassVar[str] = "nvidia.com/gpu.product"

    def open(
        self,
        owner: Component,
        ref: SiteRef,
        namespace: str,
        logins: Mapping[str, RegistryLogin],
    ) -> SiteRef:
        opened, places = make_namespaces(owner, ref, namespace)
        if logins:
            opened["pull_secret"] = make_pull_secret(owner, ref, places, logins)
        return opened

    def run(
        self,
        owner: Component,
        site: SiteRef,
        name: str,
        workload: Workload,
        after: After,
        *,
        part_of: str = "",
        queue: pulumi.Input[ConnectionArgs] | None = None,
    ) -> Running:
        if workload.per_node:
            site = across(site)
        # What pods read is made before them, or they could start with the values of yesterday.
        read = make_texts(owner, site, name, workload)
        if workload.discovers:
            read += make_account(owner, site, name)
        if read:
            # Not by what they are called: the engine replaces what has a property of something
            # replaced, and a Deployment would be gone until all before it is done.
            after = [*after, ready(*read)]
        if pull_secret := site.get("pull_secret"):
            after = [*after, pulumi.Output.from_input(pull_secret).apply(lambda _: [])]
        if not workload.stateful:  # a StatefulSet makes its claims by itself
            make_claims(owner, site, name, workload)
        make_network_policy(owner, site, name, workload)
        # Types are a part of a URN: everything of one workload can have the same logical name.
        if workload.replicas > 1 or workload.autoscale:
            kubernetes.policy.v1.PodDisruptionBudget(
                owner.child(name),
                metadata=metadata_of(site, name, name),
                spec={
                    "max_unavailable": 1,
                    "selector": {"match_labels": selector_of(site, name)},
                },
                opts=owner.child_options(),
            )
        controller = make_controller(owner, site, name, workload, after, part_of, self.gpu_label)
        if workload.autoscale:
            make_autoscaler(owner, site, name, workload.autoscale, queue)
        if workload.metrics and "service_monitors" in site:
            make_service_monitor(owner, site, name, workload, workload.metrics)
        cloud = self._service_annotations(site, name, workload)
        urls = make_service(owner, site, name, workload, cloud)
        return Running(host=name, ready=ready(controller), urls=urls)

    def _service_annotations(
        self, site: SiteRef, name: str, workload: Workload
    ) -> dict[str, pulumi.Input[str]]:
        """What the cloud wants to know of a load balancer."""
        del site, name, workload
        return {}

    def peers(self, owner: Component, site: SiteRef, host: str, ports: Sequence[int]) -> str:
        return make_peers(owner, site, host, ports)
