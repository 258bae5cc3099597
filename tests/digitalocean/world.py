"""The account behind the double: everything that exists in it, in the API's own words."""

import secrets
import uuid
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from digitalocean.catalogue import KUBERNETES_VERSIONS, REGIONS, Json
from digitalocean.errors import not_found


@dataclass(frozen=True)
class KubernetesServer:
    """A real API server that stands behind every doubled Kubernetes cluster."""

    url: str
    certificate_authority: str
    """In PEM."""
    token: str


@dataclass
class World:
    """A test looks at these maps, and may change them."""

    default_vpcs: bool = True
    """Whether every region has its default VPC. Without, the first one made there becomes it."""
    polls: int = 1
    """At which read something new or changed is seen finished."""
    lingering: int = 1
    """How often a VPC still refuses its deletion after its last member was deleted."""
    credential_seconds: int = 7 * 24 * 3600
    """How long a cluster's credentials live if nobody asks for less."""
    kubernetes_server: KubernetesServer | None = None
    kubernetes_versions: list[str] = field(default_factory=lambda: list(KUBERNETES_VERSIONS))

    vpcs: dict[str, Json] = field(default_factory=dict)
    clusters: dict[str, Json] = field(default_factory=dict)
    databases: dict[str, Json] = field(default_factory=dict)
    firewalls: dict[str, list[Json]] = field(default_factory=dict)
    database_configs: dict[str, Json] = field(default_factory=dict)
    """What of a cluster's configuration was set."""
    """The rules of each database cluster."""
    registries: dict[str, Json] = field(default_factory=dict)
    subscription: Json | None = None
    projects: dict[str, Json] = field(default_factory=dict)
    assigned: dict[str, str] = field(default_factory=dict)
    """Resource (its URN) to project."""
    tags: dict[str, set[tuple[str, str]]] = field(default_factory=dict)
    certificates: dict[str, Json] = field(default_factory=dict)
    spaces_keys: dict[str, Json] = field(default_factory=dict)
    load_balancers: dict[str, Json] = field(default_factory=dict)

    unfinished: dict[str, int] = field(default_factory=dict)
    ghosts: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        project = new_id()
        self.projects[project] = {
            "id": project,
            "owner_uuid": new_id(),
            "owner_id": 1,
            "name": "first-project",
            "description": "Update your project information under Settings",
            "purpose": "Just trying out DigitalOcean",
            "environment": "Development",
            "is_default": True,
            "created_at": now(),
            "updated_at": now(),
        }
        if self.default_vpcs:
            for number, region in enumerate(REGIONS):
                self.add_vpc(f"default-{region}", region, f"10.{100 + number}.0.0/20", default=True)

    def add_vpc(self, name: str, region: str, ip_range: str, *, default: bool = False) -> Json:
        made = {
            "id": (identifier := new_id()),
            "urn": f"do:vpc:{identifier}",
            "name": name,
            "description": "",
            "region": region,
            "ip_range": ip_range,
            "default": default,
            "created_at": now(),
        }
        self.vpcs[identifier] = made
        return made

    def default_vpc(self, region: str) -> Json:
        """The region's, made on the way as DigitalOcean does if it isn't there."""
        for vpc in self.vpcs.values():
            if vpc["region"] == region and vpc["default"]:
                return vpc
        number = list(REGIONS).index(region)
        return self.add_vpc(f"default-{region}", region, f"10.{100 + number}.0.0/20", default=True)

    def default_project(self) -> Json:
        return next(project for project in self.projects.values() if project["is_default"])

    def members(self, vpc: str) -> list[Json]:
        """What is in a VPC."""
        return [
            {"name": thing["name"], "urn": f"do:{kind}:{thing['id']}", "created_at": now()}
            for kind, field_name, things in (
                ("kubernetes", "vpc_uuid", self.clusters),
                ("dbaas", "private_network_uuid", self.databases),
                ("loadbalancer", "vpc_uuid", self.load_balancers),
            )
            for thing in things.values()
            if thing.get(field_name) == vpc
        ]

    def own_vpcs(self) -> list[Json]:
        """Without those that are always there."""
        return [vpc for vpc in self.vpcs.values() if not vpc["default"]]

    # --- time -------------------------------------------------------------------------------------

    def begin(self, identifier: str) -> None:
        """Something takes a while from now on."""
        self.unfinished[identifier] = self.polls

    def finished(self, identifier: str) -> bool:
        """Whether it is done; each question counts."""
        self.unfinished[identifier] = self.unfinished.get(identifier, 0) - 1
        return self.unfinished[identifier] <= 0

    def leave(self, vpc: str) -> None:
        """A member was deleted."""
        self.ghosts[vpc] = self.lingering

    def haunted(self, vpc: str) -> bool:
        """Whether a deleted member still counts; each question counts."""
        left = self.ghosts.get(vpc, 0)
        self.ghosts[vpc] = left - 1
        return left > 0

    def tag(self, names: Iterable[str], kind: str, identifier: str) -> None:
        for name in names:
            self.tags.setdefault(name, set()).add((kind, identifier))


def new_id() -> str:
    return str(uuid.uuid4())


def new_password() -> str:
    return f"AVNS_{secrets.token_urlsafe(14)}"


def now(seconds: float = 0) -> str:
    """The time, so many seconds from now."""
    return (datetime.now(UTC) + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")


def the(things: dict[str, Json], identifier: str, what: str) -> Json:
    if identifier not in things:
        raise not_found(what)
    return things[identifier]


def page(name: str, things: Iterable[Json], query: dict[str, str]) -> tuple[int, Json]:
    """One page of a list, with the links and the total that go with it."""
    everything = list(things)
    size = min(int(query.get("per_page", 20)), 200)
    number = int(query.get("page", 1))
    shown = everything[(number - 1) * size : number * size]
    more = number * size < len(everything)
    links = {"pages": {"next": f"?page={number + 1}&per_page={size}"}} if more else {}
    return 200, {name: shown, "links": links, "meta": {"total": len(everything)}}
