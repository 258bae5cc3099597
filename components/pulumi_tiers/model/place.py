"""Where the parts of a system go: what a Site says of itself, and in other languages its user."""

from collections.abc import Iterator

from pydantic import model_validator

from pulumi_tiers.model.base import Flag, Model, Text
from pulumi_tiers.model.errors import reject_all
from pulumi_tiers.model.system import Target


class ClusterPlace(Model):
    """A cluster on DigitalOcean."""

    id: Text
    region: Text
    vpc: Text


class Place(Model):
    """The `ref` of a Site. What decides something is plain; names may be known later."""

    target: Target
    name: str
    labels: dict[str, str] = {}
    documented_names: Flag = False
    network: Text | None = None
    namespace: Text | None = None
    environment: str | None = None
    protect: Flag = False
    pull_secret: Text | None = None
    source_ranges: list[str] = []
    await_load_balancers: Flag = True
    cluster: ClusterPlace | None = None

    @model_validator(mode="after")
    def _complete(self) -> "Place":
        reject_all(self._mistakes())
        return self

    def _mistakes(self) -> Iterator[tuple[tuple[str | int, ...], str, str]]:
        needed = {
            Target.DOCKER: ("network",),
            Target.KUBERNETES: ("namespace",),
            Target.DIGITALOCEAN: ("namespace", "cluster"),
        }[self.target]
        for key in needed:
            if getattr(self, key) is None:
                why = f"is missing, and the target is {self.target}"
                yield (key,), why, f"pass what the Site has as its '{key}'"
