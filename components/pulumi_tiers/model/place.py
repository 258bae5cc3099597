"""Where the parts of a system go: what a Site says of itself, and in other languages its user."""

import re
from collections.abc import Iterator
from typing import Annotated, Any

from pydantic import AfterValidator, model_validator

from pulumi_tiers.model.base import (
    LONGEST_LABEL,
    ContainerPrefix,
    DnsLabel,
    Flag,
    LabelKey,
    LabelValue,
    Model,
    Name,
    Text,
    is_dns_label,
)
from pulumi_tiers.model.cloud import SourceRange
from pulumi_tiers.model.errors import reject, reject_all, shown
from pulumi_tiers.model.network import Network
from pulumi_tiers.model.system import Target


def _given(value: object) -> object:
    if value == "":
        raise reject("this text is empty", "pass the output of the Cluster")
    return value


Given = Annotated[Text, AfterValidator(_given)]
"""A text that is known now and not empty, or later."""


def _object_name(value: object) -> object:
    # In other languages a Site's output may be passed on where it is empty.
    if isinstance(value, str) and value and not is_dns_label(value):
        raise reject(
            f"{shown(value)} is not the name of an object on Kubernetes",
            "use at most 63 lower-case letters, digits and hyphens, with no hyphen at an end",
        )
    return value


ObjectName = Annotated[Text, AfterValidator(_object_name)]
"""The name of an object on Kubernetes, known now or later."""


# As Pulumi spells a stack: on Docker, any stack's name begins those of containers.
_SITE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


def _site_name(value: str) -> str:
    # A stack's name has at most 100 characters, and a system's 40.
    if len(value) > 141 or not _SITE_NAME.fullmatch(value):
        raise reject(
            f"{shown(value)} is not the name of a Site", "pass its 'name': '<stack>-<system>'"
        )
    return value


class ClusterPlace(Model):
    """A cluster on DigitalOcean."""

    id: Given
    region: Given
    vpc: Given


class NetworkPlace(Network):
    """A network of a Site."""

    name: Text | None = None


class Place(Model):
    """The `ref` of a Site. What decides something is plain; names may be known later."""

    target: Target
    name: Annotated[str, AfterValidator(_site_name)]
    labels: dict[LabelKey, LabelValue] = {}
    documented_names: Flag = False
    container_prefix: ContainerPrefix = ""
    network: Text | None = None
    networks: dict[Name, NetworkPlace] = {}
    namespace: ObjectName | None = None
    environment: LabelValue | None = None
    protect: Flag = False
    collectors: ObjectName | None = None
    service_monitors: DnsLabel | None = None
    pull_secret: ObjectName | None = None
    source_ranges: list[SourceRange] = []
    await_load_balancers: Flag = True
    cluster: ClusterPlace | None = None

    @model_validator(mode="after")
    def _complete(self) -> "Place":
        reject_all(self._mistakes())
        return self

    def _mistakes(self) -> Iterator[tuple[tuple[str | int, ...], str, str]]:
        needed = {
            Target.DOCKER: () if self.networks else ("network",),
            Target.KUBERNETES: ("namespace",),
            Target.DIGITALOCEAN: ("namespace", "cluster"),
        }[self.target]
        for key in needed:
            value: Any = getattr(self, key)
            if value is None or value == "":
                why = f"is missing, and the target is {self.target}"
                yield (key,), why, f"pass what the Site has as its '{key}'"
        for name, network in self.networks.items():
            if self.target is Target.DOCKER and not network.name:
                why = f"is missing, and the target is {self.target}"
                yield ("networks", name, "name"), why, "pass what the Site has in its 'networks'"
        if self.target is Target.DIGITALOCEAN and not is_dns_label(self.name):
            why = f"{shown(self.name)} begins names on DigitalOcean"
            remedy = "use at most 63 lower-case letters, digits and hyphens"
            yield ("name",), why, remedy
        # Without labels, the name becomes one.
        in_label = self.target is Target.KUBERNETES and not self.labels
        if in_label and len(self.name) > LONGEST_LABEL:
            why = f"this has {len(self.name)} characters, and Kubernetes takes 63 in a label"
            yield ("name",), why, "shorten the name of the stack or of the system"
