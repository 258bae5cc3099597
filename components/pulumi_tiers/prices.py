"""What a stack costs a month on DigitalOcean, from tables with their sources. Asks nobody.

USD, for a whole month, without taxes, traffic, backups and snapshots. DigitalOcean bills nodes for
28 days a month at most, so their monthly prices hold for each month.
"""

import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, eq=False)
class Table:
    """Prices of one kind, and where they stand."""

    what: str
    url: str
    #: When the page says that it was edited, else when it was read: ``2026-08-21``.
    date: str
    #: USD a month, of one.
    prices: Mapping[str, float]


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


def _parsed(text: str) -> dict[str, float]:
    """``slug=price slug=price …``, several on a line."""
    pairs = (entry.split("=") for entry in text.split())
    return {slug: float(usd) for slug, usd in pairs}


_DOCS = "https://docs.digitalocean.com/products"
_DATABASES = "https://www.digitalocean.com/pricing/managed-databases"

# GPU plans are those that DOKS takes without a contract, rounded to a dollar:
# https://docs.digitalocean.com/products/kubernetes/details/supported-gpus/
NODES = Table(
    "nodes: Droplet plans from 2 GB, as a daily copy of the API's GET /v2/sizes has them",
    "https://github.com/sergeykuzmich/terraform-digitalocean-variables/blob/97e31f6/do_sizes.tf",
    "2026-08-21",
    _parsed("""
        s-1vcpu-2gb=12 s-1vcpu-2gb-amd=14 s-1vcpu-2gb-intel=14 s-1vcpu-2gb-70gb-intel=16
        s-2vcpu-2gb=18 s-2vcpu-2gb-amd=21 s-2vcpu-2gb-intel=21 s-2vcpu-2gb-90gb-intel=24
        s-2vcpu-4gb=24 s-2vcpu-4gb-amd=28 s-2vcpu-4gb-intel=28 s-2vcpu-4gb-120gb-intel=32
        s-2vcpu-8gb-amd=42 s-2vcpu-8gb-160gb-intel=48 s-4vcpu-8gb=48 s-4vcpu-8gb-amd=56
        s-4vcpu-8gb-intel=56 s-4vcpu-8gb-240gb-intel=64 s-4vcpu-16gb-amd=84
        s-4vcpu-16gb-320gb-intel=96 s-8vcpu-16gb=96 s-8vcpu-16gb-amd=112 s-8vcpu-16gb-intel=112
        s-8vcpu-16gb-480gb-intel=128 s-8vcpu-32gb-amd=168 s-8vcpu-32gb-640gb-intel=192
        g-2vcpu-8gb=63 g-2vcpu-8gb-intel=76 g-4vcpu-16gb=126 g-4vcpu-16gb-intel=151 g-8vcpu-32gb=252
        g-8vcpu-32gb-intel=302 g-16vcpu-64gb=504 g-16vcpu-64gb-intel=605 g-32vcpu-128gb=1008
        g-32vcpu-128gb-intel=1210 g-40vcpu-160gb=1260 g-48vcpu-192gb-intel=1814
        g-60vcpu-240gb-intel=2269
        gd-2vcpu-8gb=68 gd-2vcpu-8gb-intel=79 gd-4vcpu-16gb=136 gd-4vcpu-16gb-intel=158
        gd-8vcpu-32gb=272 gd-8vcpu-32gb-intel=317 gd-16vcpu-64gb=544 gd-16vcpu-64gb-intel=634
        gd-32vcpu-128gb=1088 gd-32vcpu-128gb-intel=1268 gd-40vcpu-160gb=1360
        gd-48vcpu-192gb-intel=1901 gd-60vcpu-240gb-intel=2378
        c-2=42 c-4=84 c-4-intel=109 c-8=168 c-8-intel=218 c-16=336 c-16-intel=437 c-32=672
        c-32-intel=874 c-48=1008 c-48-intel=1310 c-60-intel=1639
        c2-2vcpu-4gb=47 c2-4vcpu-8gb=94 c2-4vcpu-8gb-intel=122 c2-8vcpu-16gb=188
        c2-8vcpu-16gb-intel=244 c2-16vcpu-32gb=376 c2-16vcpu-32gb-intel=489 c2-32vcpu-64gb=752
        c2-32vcpu-64gb-intel=978 c2-48vcpu-96gb=1128 c2-48vcpu-96gb-intel=1466
        c2-60vcpu-120gb-intel=1834
        m-2vcpu-16gb=84 m-2vcpu-16gb-intel=99 m-4vcpu-32gb=168 m-4vcpu-32gb-intel=198
        m-8vcpu-64gb=336 m-8vcpu-64gb-intel=396 m-16vcpu-128gb=672 m-16vcpu-128gb-intel=792
        m-24vcpu-192gb=1008 m-24vcpu-192gb-intel=1188 m-32vcpu-256gb=1344 m-32vcpu-256gb-intel=1584
        m-48vcpu-384gb-intel=2376
        gpu-4000adax1-20gb=565 gpu-6000adax1-48gb=1168 gpu-l40sx1-48gb=1168 gpu-mi300x1-192gb=1927
        gpu-h100x1-80gb=3281 gpu-mi300x8-1536gb=15416 gpu-h100x8-640gb=26248
    """),
)
CONTROL_PLANE = Table(
    "control plane of a cluster",
    f"{_DOCS}/kubernetes/details/pricing/",
    "2025-10-20",
    {"high availability": 40.0},
)
DATABASES = {
    "pg": Table(
        "nodes of managed PostgreSQL",
        f"{_DATABASES}#postgresql",
        "2026-05-10",
        {
            "db-s-1vcpu-1gb": 15.15,
            "db-s-1vcpu-2gb": 30.45,
            "db-s-2vcpu-4gb": 60.90,
            "db-s-4vcpu-8gb": 122.10,
            "db-s-6vcpu-16gb": 244.35,
        },
    ),
    "valkey": Table(
        "nodes of managed Valkey",
        f"{_DOCS}/databases/valkey/details/pricing/",
        "2025-06-17",
        {"db-s-1vcpu-1gb": 15.0, "db-s-1vcpu-2gb": 30.0},
    ),
    "mongodb": Table(
        "nodes of managed MongoDB",
        f"{_DOCS}/databases/mongodb/details/pricing/",
        "2025-06-17",
        {"db-s-1vcpu-1gb": 15.0},
    ),
}
"""By DigitalOcean's word for the engine."""

DATABASE_STORAGE = Table(
    "storage of managed PostgreSQL beyond what its size has, per GiB",
    f"{_DATABASES}#postgresql",
    "2026-05-10",
    {"pg": 0.215},
)
_INCLUDED_GIB = {
    "db-s-1vcpu-1gb": 10,
    "db-s-1vcpu-2gb": 30,
    "db-s-2vcpu-4gb": 60,
    "db-s-4vcpu-8gb": 140,
    "db-s-6vcpu-16gb": 290,
}
"""Of PostgreSQL, from the same table."""

LOAD_BALANCERS = Table(
    "load balancers, per node; global ones as a whole",
    f"{_DOCS}/networking/load-balancers/details/pricing/",
    "2025-02-28",
    {"REGIONAL": 12.0, "REGIONAL_NETWORK": 15.0, "GLOBAL": 15.0},
)
VOLUMES = Table(
    "volumes, per GiB", f"{_DOCS}/volumes/details/pricing/", "2025-11-14", {"GiB": 0.10}
)
REGISTRIES = Table(
    "container registry, the account's subscription",
    f"{_DOCS}/container-registry/details/pricing/",
    "2025-06-11",
    {"starter": 0.0, "basic": 5.0, "professional": 20.0},
)
SPACES = Table(
    "Spaces, the account's subscription: all buckets up to 250 GiB",
    f"{_DOCS}/spaces/details/pricing/",
    "2025-06-17",
    {"Spaces": 5.0},
)
TABLES = (
    NODES,
    CONTROL_PLANE,
    *DATABASES.values(),
    DATABASE_STORAGE,
    LOAD_BALANCERS,
    VOLUMES,
    REGISTRIES,
    SPACES,
)

# --- words of DigitalOcean's, for checks ----------------------------------------------------------

NODE_SIZES = NODES.prices
GPU_SIZES = {
    # The others have GPUs of AMD's, which are another resource for Kubernetes.
    slug: usd
    for slug, usd in NODES.prices.items()
    if slug.startswith("gpu-") and not slug.startswith("gpu-mi")
}
REGISTRY_TIERS = REGISTRIES.prices

_SMALL = "db-s-1vcpu-1gb db-s-1vcpu-2gb db-s-2vcpu-4gb db-s-4vcpu-8gb db-s-6vcpu-16gb"
_LARGE = "db-s-8vcpu-32gb db-s-16vcpu-64gb"
_GENERAL = (
    "gd-2vcpu-8gb gd-4vcpu-16gb gd-8vcpu-32gb gd-16vcpu-64gb gd-32vcpu-128gb gd-40vcpu-160gb"
    " so1_5-2vcpu-16gb so1_5-4vcpu-32gb so1_5-8vcpu-64gb so1_5-16vcpu-128gb so1_5-24vcpu-192gb"
    " so1_5-32vcpu-256gb"
)
_MEMORY = "m-2vcpu-16gb m-4vcpu-32gb m-8vcpu-64gb m-16vcpu-128gb m-24vcpu-192gb m-32vcpu-256gb"
_PREMIUM = "1vcpu-1gb 1vcpu-2gb 2vcpu-4gb 2vcpu-8gb 4vcpu-8gb 4vcpu-16gb 8vcpu-32gb 16vcpu-64gb"
ENGINE_SIZES: Mapping[str, frozenset[str]] = {
    "pg": _words(f"{_SMALL} {_GENERAL}")
    | {f"db-{maker}-{size}" for maker in ("amd", "intel") for size in _words(_PREMIUM)},
    "valkey": _words(f"{_SMALL} {_LARGE} {_MEMORY}"),
    "mongodb": _words(f"{_SMALL} {_LARGE} {_GENERAL}"),
}
"""What each engine can have: the answer of GET /v2/databases/options in DigitalOcean's OpenAPI
description, https://github.com/digitalocean/openapi, seen 2026-11-22. Not all have a price here."""

DATABASE_SIZES = frozenset[str]().union(*ENGINE_SIZES.values())

REGIONS = _words("ams3 atl1 blr1 fra1 lon1 nyc1 nyc2 nyc3 ric1 sfo2 sfo3 sgp1 syd1 tor1")
"""https://docs.digitalocean.com/platform/regional-availability/, edited 2025-11-20; ric1 from the
OpenAPI description."""

# --- one resource ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Price:
    """What one resource costs."""

    #: ``2 nodes s-2vcpu-4gb``
    what: str
    #: USD a month. None: not in the tables.
    usd: float | None
    #: The tables that it comes from.
    tables: tuple[Table, ...] = ()
    #: USD a month with all nodes that scaling may add. None: it has no others.
    most: float | None = None
    #: The account pays it once, however many there are of this kind.
    once: bool = False

    @property
    def amount(self) -> str:
        """For people: ``48.00``, ``24.00 to 120.00``, ``unknown``."""
        if self.usd is None:
            return "unknown"
        return f"{self.usd:,.2f}" + (f" to {self.most:,.2f}" if self.most is not None else "")


Inputs = Mapping[str, Any]
Sizes = Mapping[str, float]


def price(type_: str, inputs: Inputs, known: Mapping[str, float] = {}) -> Price | None:
    """What a resource costs; None: nothing.

    `type_` is Pulumi's type token, and `inputs` are the provider's own names (camelCase), without
    secrets. `known` has prices of sizes, slug → USD a month per node, and wins over the tables.
    What a Kubernetes resource costs is right in a cluster of DigitalOcean's only.
    """
    if type_ in _PRICED:
        return _PRICED[type_](inputs, known)
    if type_.startswith("digitalocean:") and type_ not in _FREE:
        return Price(type_.rpartition(":")[2], None)
    return None


def _cluster(inputs: Inputs, known: Sizes) -> Price:
    pool = _pool(inputs.get("nodePool") or {}, known)
    if not _highly_available(inputs):
        return pool
    extra = CONTROL_PLANE.prices["high availability"]
    return Price(
        f"{pool.what}, high availability",
        None if pool.usd is None else pool.usd + extra,
        (*pool.tables, CONTROL_PLANE),
        None if pool.most is None else pool.most + extra,
    )


def _highly_available(inputs: Inputs) -> bool:
    if isinstance(inputs.get("ha"), bool):
        return inputs["ha"]
    # The API's default since 1.36, so also that of the latest version.
    version = re.match(r"1\.(\d+)\.", str(inputs.get("version")))
    return version is None or int(version[1]) >= 36


def _pool(inputs: Inputs, known: Sizes) -> Price:
    """With autoscaling, `usd` is that of the fewest nodes: they are always there."""
    size, count = str(inputs.get("size")), _whole(inputs.get("nodeCount"))
    most = count
    if inputs.get("autoScale"):
        count = _whole(inputs.get("minNodes"), count)
        most = _whole(inputs.get("maxNodes"), count)
    each, tables = _size(size, known, NODES)
    nodes = _counted(count, "node") if most == count else f"{count} to {most} nodes"
    return Price(
        f"{nodes} {size}",
        None if each is None else count * each,
        tables,
        None if each is None or most == count else most * each,
    )


def _database(inputs: Inputs, known: Sizes) -> Price:
    engine, size = str(inputs.get("engine")), str(inputs.get("size"))
    count = _whole(inputs.get("nodeCount"))
    what = f"{engine}, {_counted(count, 'node')} {size}"
    each, tables = _size(size, known, DATABASES.get(engine))
    if inputs.get("storageSizeMib") is None:
        return Price(what, None if each is None else count * each, tables)
    gib = math.ceil(float(inputs["storageSizeMib"]) / 1024)
    what += f" with {gib} GiB"
    if each is None or engine not in DATABASE_STORAGE.prices or size not in _INCLUDED_GIB:
        return Price(what, None)
    extra = max(0, gib - _INCLUDED_GIB[size])
    # Every node has a disk of its own.
    usd = count * (each + extra * DATABASE_STORAGE.prices[engine])
    return Price(what, usd, (*tables, DATABASE_STORAGE) if extra else tables)


def _load_balancer(inputs: Inputs, known: Sizes) -> Price:
    del known
    nodes = {"lb-medium": 3, "lb-large": 6}.get(str(inputs.get("size")), 1)
    return _balancer(str(inputs.get("type") or "REGIONAL"), _whole(inputs.get("sizeUnit"), nodes))


def _service(inputs: Inputs, known: Sizes) -> Price | None:
    del known
    if (inputs.get("spec") or {}).get("type") != "LoadBalancer":
        return None
    annotations = (inputs.get("metadata") or {}).get("annotations") or {}
    prefix = "service.beta.kubernetes.io/do-loadbalancer"
    # A network load balancer is DOKS' default since Kubernetes 1.33:
    # https://docs.digitalocean.com/products/kubernetes/details/changelog/1.33.1.do-0/
    kind = str(annotations.get(f"{prefix}-type") or "REGIONAL_NETWORK")
    return _balancer(kind, _whole(annotations.get(f"{prefix}-size-unit")))


def _balancer(kind: str, nodes: int) -> Price:
    each = LOAD_BALANCERS.prices.get(kind)
    if kind == "GLOBAL":
        nodes = 1
    words = {"REGIONAL": "load balancer", "REGIONAL_NETWORK": "network load balancer"}
    what = words.get(kind, f"{kind.lower()} load balancer")
    if nodes > 1:
        what += f", {nodes} nodes"
    return Price(what, None if each is None else nodes * each, (LOAD_BALANCERS,))


def _registry(inputs: Inputs, known: Sizes) -> Price:
    del known
    tier = str(inputs.get("subscriptionTierSlug"))
    return Price(f"registry {tier}", REGISTRIES.prices.get(tier), (REGISTRIES,), once=True)


def _bucket(inputs: Inputs, known: Sizes) -> Price:
    del inputs, known
    return Price("Spaces subscription", SPACES.prices["Spaces"], (SPACES,), once=True)


def _claim(inputs: Inputs, known: Sizes) -> Price:
    del known
    return _volumes([inputs.get("spec") or {}], 1)


def _stateful_set(inputs: Inputs, known: Sizes) -> Price | None:
    del known
    spec = inputs.get("spec") or {}
    claims = [claim.get("spec") or {} for claim in spec.get("volumeClaimTemplates") or []]
    return _volumes(claims, _whole(spec.get("replicas"))) if claims else None


def _volumes(claims: Iterable[Inputs], replicas: int) -> Price:
    """What each of the replicas claims for itself."""
    quantities = [
        str(((claim.get("resources") or {}).get("requests") or {}).get("storage"))
        for claim in claims
    ]
    what = f"{_counted(replicas * len(quantities), 'volume')}, {' + '.join(quantities)}"
    if replicas > 1:
        what += " each"
    sizes = [gib for quantity in quantities if (gib := _gib(quantity)) is not None]
    if len(sizes) < len(quantities):
        return Price(what, None)
    return Price(what, replicas * sum(sizes) * VOLUMES.prices["GiB"], (VOLUMES,))


_QUANTITY = re.compile(r"(\d+(?:\.\d+)?)(?:([kMGTP])|([KMGTP])i)?")


def _gib(quantity: str) -> int | None:
    """A quantity of Kubernetes' in whole GiB, as volumes have them; None: it isn't one."""
    match = _QUANTITY.fullmatch(quantity)
    if match is None:
        return None
    number, decimal, binary = match.groups()
    factor = 1000 ** (" kMGTP".index(decimal)) if decimal else 1
    factor *= 1024 ** (" KMGTP".index(binary)) if binary else 1
    return max(1, math.ceil(float(number) * factor / 1024**3))


def _size(size: str, known: Sizes, table: Table | None) -> tuple[float | None, tuple[Table, ...]]:
    """What one node costs, and the table that says so."""
    if size in known:
        return known[size], ()
    if table is None or size not in table.prices:
        return None, ()
    return table.prices[size], (table,)


def _whole(value: object, default: int = 1) -> int:
    """A number as providers, annotations and recordings have it."""
    return default if value is None else int(float(str(value)))


def _counted(count: int, word: str) -> str:
    return f"{count} {word}" if count == 1 else f"{count} {word}s"


_PRICED: Mapping[str, Callable[[Inputs, Sizes], Price | None]] = {
    "digitalocean:index/kubernetesCluster:KubernetesCluster": _cluster,
    "digitalocean:index/kubernetesNodePool:KubernetesNodePool": _pool,
    "digitalocean:index/databaseCluster:DatabaseCluster": _database,
    "digitalocean:index/containerRegistry:ContainerRegistry": _registry,
    "digitalocean:index/loadBalancer:LoadBalancer": _load_balancer,
    "digitalocean:index/spacesBucket:SpacesBucket": _bucket,
    "kubernetes:core/v1:Service": _service,
    "kubernetes:core/v1:PersistentVolumeClaim": _claim,
    "kubernetes:apps/v1:StatefulSet": _stateful_set,
}

# What isn't named here may cost something, so its price is unknown and not zero.
_FREE = frozenset(
    f"digitalocean:index/{name}:{name[0].upper()}{name[1:]}"
    for name in _words(
        "certificate containerRegistryDockerCredentials databaseConnectionPool databaseDb"
        " databaseFirewall databaseMongodbConfig databasePostgresqlConfig databaseUser"
        " databaseValkeyConfig dnsRecord domain firewall project projectResources"
        " spacesBucketCorsConfiguration spacesBucketPolicy spacesKey sshKey tag vpc"
    )
)

# --- all of them ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Total:
    """What a stack costs: ``103.00 USD a month``, ``at least 79.00 USD a month``."""

    #: USD a month, of all prices that are known.
    usd: float
    #: The same with all nodes that scaling may add.
    most: float
    #: False: something has no known price, so it may be more.
    complete: bool

    def __str__(self) -> str:
        least = "" if self.complete else "at least "
        text = f"{least}{self.usd:,.2f} USD a month"
        return (
            text if self.most == self.usd else f"{text}, {least}{self.most:,.2f} USD with all nodes"
        )


def charged(prices: Iterable[Price]) -> list[Price]:
    """Without those that the account pays once and that stand in the list already."""
    found: list[Price] = []
    once: set[str] = set()
    for item in prices:
        if item.once and item.what in once:
            continue
        once.add(item.what)
        found.append(item)
    return found


def total(prices: Iterable[Price]) -> Total:
    """The sum of what is charged."""
    items = charged(prices)
    return Total(
        usd=round(sum(item.usd or 0 for item in items), 2),
        most=round(sum(item.most or item.usd or 0 for item in items), 2),
        complete=all(item.usd is not None for item in items),
    )
