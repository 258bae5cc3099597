"""What each request body must look like: small schemas, written after the published description.

Where that description is silent (names of clusters, pools, databases, users), the schema takes what
DigitalOcean's own pages and error messages say, and rather refuses. Fields that a schema doesn't
name are ignored.
"""

import ipaddress
import re
from typing import Any

from jsonschema import Draft202012Validator, FormatChecker
from jsonschema.exceptions import ValidationError, best_match

from digitalocean.catalogue import (
    DATABASE_SIZES,
    DATABASE_VERSIONS,
    REGIONS,
    REGISTRY_REGIONS,
    TIERS,
    Json,
)
from digitalocean.errors import unprocessable

FORMATS = FormatChecker()


@FORMATS.checks("cidr", ValueError)
def _is_network(value: object) -> bool:
    return "/" in str(value) and bool(ipaddress.IPv4Network(str(value)))


@FORMATS.checks("clock")
def _is_clock(value: object) -> bool:
    return bool(re.fullmatch(r"([01]\d|2[0-3]):[0-5]\d(:[0-5]\d)?", str(value)))


def check(schema: Json, body: object) -> None:
    """Raises what DigitalOcean would answer to a wrong body; the message begins with the field."""
    error = best_match(Draft202012Validator(schema, format_checker=FORMATS).iter_errors(body))
    if error is not None:
        raise unprocessable(_message(error))


def _message(error: ValidationError) -> str:
    field = "".join(f"[{p}]" if isinstance(p, int) else f".{p}" for p in error.absolute_path)
    if error.validator == "required" and isinstance(error.instance, dict):
        missing = error.message.split("'")[1]
        return f"{f'{field}.{missing}'.lstrip('.')} is required"
    return f"{field.lstrip('.') or 'body'} {error.message}"


def _object(required: tuple[str, ...], /, **properties: Json) -> Json:
    return {"type": "object", "required": list(required), "properties": properties}


def _nullable(schema: Json) -> Json:
    return {"anyOf": [schema, {"type": "null"}]}


def _list(items: Json, **rest: Any) -> Json:
    return {"type": "array", "items": items, **rest}


def _one_of(*values: str) -> Json:
    return {"type": "string", "enum": list(values)}


def _matches(pattern: str, longest: int = 255, shortest: int = 1) -> Json:
    return {
        "type": "string",
        "pattern": f"^{pattern}$",
        "minLength": shortest,
        "maxLength": longest,
    }


TEXT: Json = {"type": "string"}
FLAG: Json = {"type": "boolean"}
UUID: Json = {"type": "string", "format": "uuid"}
# An empty id is none: clients send it for "your default one".
UUID_OR_EMPTY: Json = {"anyOf": [UUID, {"type": "string", "maxLength": 0}]}
CIDR: Json = {"type": "string", "format": "cidr"}
CLOCK: Json = {"type": "string", "format": "clock"}
REGION = _one_of(*REGIONS)
LABEL = _matches("[a-z0-9]([-a-z0-9]*[a-z0-9])?", 63)
TAG = _matches(r"[a-zA-Z0-9_\-:]+")
TAGS = _nullable(_list(TAG))
DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")

# --- networks -------------------------------------------------------------------------------------

_VPC_NAME = _matches(r"[a-zA-Z0-9\-.]+")
_DESCRIPTION: Json = {"type": "string", "maxLength": 255}
VPC_CREATE = _object(
    ("name", "region"), name=_VPC_NAME, region=REGION, description=_DESCRIPTION, ip_range=CIDR
)
VPC_UPDATE = _object(("name",), name=_VPC_NAME, description=_DESCRIPTION, default=FLAG)
VPC_PATCH = _object((), name=_VPC_NAME, description=_DESCRIPTION, default=FLAG)

# --- Kubernetes -----------------------------------------------------------------------------------

_SWITCH = _nullable(_object((), enabled=_nullable(FLAG)))
_POOL: Json = {
    "name": LABEL,
    "count": {"type": "integer", "minimum": 0, "maximum": 512},
    "tags": TAGS,
    "labels": _nullable({"type": "object", "additionalProperties": TEXT}),
    "taints": _nullable(
        _list(
            _object(
                ("key", "effect"),
                key=TEXT,
                value=TEXT,
                effect=_one_of("NoSchedule", "PreferNoSchedule", "NoExecute"),
            )
        )
    ),
    "auto_scale": FLAG,
    "min_nodes": {"type": "integer", "minimum": 0},
    "max_nodes": {"type": "integer", "minimum": 0},
}
# The size itself is checked where its own message is known. Whoever scales automatically may leave
# the count out.
POOL_CREATE = _object(("name", "size"), size=TEXT, **_POOL)
POOL_UPDATE = _object((), **_POOL)
_CLUSTER: Json = {
    "name": LABEL,
    "tags": TAGS,
    "maintenance_policy": _nullable(
        _object((), day=_one_of("any", *DAYS), start_time={"anyOf": [CLOCK, {"const": ""}]})
    ),
    "auto_upgrade": FLAG,
    "surge_upgrade": FLAG,
    "ha": FLAG,
    "control_plane_firewall": _nullable(
        _object((), enabled=_nullable(FLAG), allowed_addresses=_nullable(_list(TEXT)))
    ),
    "cluster_autoscaler_configuration": _nullable(
        _object(
            (),
            scale_down_utilization_threshold=_nullable({"type": "number"}),
            scale_down_unneeded_time=_nullable(TEXT),
            expanders=_nullable(_list(_one_of("random", "priority", "least_waste"))),
        )
    ),
    "sso": _nullable(
        _object((), enabled=FLAG, required=FLAG, issuer_url=TEXT, client_id=TEXT),
    ),
    "routing_agent": _SWITCH,
    "p2p_oci_registry_plugin": _SWITCH,
    "amd_gpu_device_plugin": _SWITCH,
    "amd_gpu_device_metrics_exporter_plugin": _SWITCH,
    "nvidia_gpu_device_plugin": _SWITCH,
    "rdma_shared_dev_plugin": _SWITCH,
    "coredns_autoscaler": _SWITCH,
}
CLUSTER_CREATE = _object(
    ("name", "region", "version", "node_pools"),
    region=REGION,
    version=TEXT,
    vpc_uuid=UUID,
    cluster_subnet=CIDR,
    service_subnet=CIDR,
    node_pools=_list(POOL_CREATE, minItems=1),
    **_CLUSTER,
)
CLUSTER_UPDATE = _object(("name",), **_CLUSTER)
CLUSTER_UPGRADE = _object(("version",), version=TEXT)
CLUSTER_IDS = _object(("cluster_uuids",), cluster_uuids=_list(UUID, minItems=1))

# --- databases ------------------------------------------------------------------------------------

_NODES: Json = {"type": "integer", "minimum": 1, "maximum": 3}
_STORAGE: Json = {"type": "integer", "minimum": 0}
_RULE = _object(
    ("type", "value"),
    uuid=UUID_OR_EMPTY,
    cluster_uuid=UUID_OR_EMPTY,
    type=_one_of("droplet", "k8s", "ip_addr", "tag", "app"),
    value={"type": "string", "minLength": 1},
    description=TEXT,
)
_RULES = _list(_RULE, maxItems=100)
DATABASE_CREATE = _object(
    ("name", "engine", "num_nodes", "size", "region"),
    name=_matches("[a-z0-9][-a-z0-9]*", 63, 3),
    engine=_one_of(*DATABASE_VERSIONS),
    version=TEXT,
    num_nodes=_NODES,
    size=_one_of(*DATABASE_SIZES),
    region=REGION,
    private_network_uuid=UUID_OR_EMPTY,
    project_id=UUID_OR_EMPTY,
    tags=TAGS,
    rules=_nullable(_RULES),
    storage_size_mib=_STORAGE,
)
DATABASE_RESIZE = _object(
    ("size", "num_nodes"),
    size=_one_of(*DATABASE_SIZES),
    num_nodes=_NODES,
    storage_size_mib=_STORAGE,
)
DATABASE_MIGRATE = _object(("region",), region=REGION, private_network_uuid=UUID_OR_EMPTY)
DATABASE_MAINTENANCE = _object(("day", "hour"), day=_one_of(*DAYS), hour=CLOCK)
DATABASE_UPGRADE = _object(("version",), version=TEXT)
DATABASE_FIREWALL = _object(("rules",), rules=_RULES)
VALKEY_CONFIG = _object(
    ("config",),
    config=_object(
        (),
        valkey_maxmemory_policy=_one_of(
            "noeviction",
            *(f"allkeys-{how}" for how in ("lru", "lfu", "random")),
            *(f"volatile-{how}" for how in ("lru", "lfu", "random", "ttl")),
        ),
        valkey_persistence=_one_of("off", "rdb"),
    ),
)
DATABASE_USER = _object(
    ("name",),
    name=_matches(r"[a-zA-Z0-9_][a-zA-Z0-9_.\-]*", 63),
    mysql_settings=_object(
        ("auth_plugin",), auth_plugin=_one_of("mysql_native_password", "caching_sha2_password")
    ),
    settings=_object((), pg_allow_replication=FLAG),
    readonly=FLAG,
)
DATABASE_USER_UPDATE = _object(("settings",), settings=_object((), pg_allow_replication=FLAG))
DATABASE_DB = _object(("name",), name=_matches(r"[a-zA-Z0-9_][a-zA-Z0-9_\-]*", 63))

# --- registries -----------------------------------------------------------------------------------

_REGISTRY: Json = {
    "name": _matches("[a-z0-9-]+", 63),
    "subscription_tier_slug": _one_of(*TIERS),
    "region": _one_of(*REGISTRY_REGIONS),
}
REGISTRY_CREATE = _object(("name", "subscription_tier_slug"), **_REGISTRY)
REGISTRIES_CREATE = _object(("name",), **_REGISTRY)
SUBSCRIPTION = _object(("tier_slug",), tier_slug=_one_of(*TIERS))

SPACES_KEY = _object(
    ("name",),
    name={"type": "string", "minLength": 1},
    grants={
        "type": "array",
        "items": _object(
            ("bucket", "permission"),
            bucket={"type": "string"},
            permission=_one_of("", "read", "readwrite", "fullaccess"),
        ),
    },
)

# --- the rest of the account ----------------------------------------------------------------------

_PROJECT: Json = {
    "name": {"type": "string", "minLength": 1, "maxLength": 175},
    "description": {"type": "string", "maxLength": 255},
    "purpose": {"type": "string", "minLength": 1, "maxLength": 255},
    "environment": _one_of("Development", "Staging", "Production"),
}
PROJECT_CREATE = _object(("name", "purpose"), **_PROJECT)
PROJECT_UPDATE = _object((), **_PROJECT)
_URN = _matches("do:(dbaas|domain|droplet|floatingip|loadbalancer|space|volume|kubernetes|vpc):.+")
PROJECT_RESOURCES = _object(("resources",), resources=_list(_URN))
TAG_CREATE = _object(("name",), name=TAG)
# The published description leaves databases out; the provider tags them like this.
TAG_RESOURCES = _object(
    ("resources",),
    resources=_list(
        _object(
            ("resource_id", "resource_type"),
            resource_id=TEXT,
            resource_type=_one_of("droplet", "image", "volume", "volume_snapshot", "database"),
        )
    ),
)
_NAME: Json = {"type": "string", "minLength": 1, "maxLength": 255}
CERTIFICATE_CREATE: Json = {
    **_object(
        ("name", "type"),
        name=_NAME,
        type=_one_of("custom", "lets_encrypt"),
        dns_names=_list(_NAME, minItems=1),
        private_key=_matches(r"-----BEGIN [A-Z ]*PRIVATE KEY-----[\s\S]*", 65536),
        leaf_certificate=_matches(r"-----BEGIN CERTIFICATE-----[\s\S]*", 65536),
        certificate_chain=TEXT,
    ),
    "if": {"properties": {"type": {"const": "custom"}}},
    "then": {"required": ["private_key", "leaf_certificate"]},
    "else": {"required": ["dns_names"]},
}
_PORT: Json = {"type": "integer", "minimum": 1, "maximum": 65535}
_FORWARDING_RULE = _object(
    ("entry_protocol", "entry_port", "target_protocol", "target_port"),
    entry_protocol=_one_of("http", "https", "http2", "http3", "tcp", "udp"),
    entry_port=_PORT,
    target_protocol=_one_of("http", "https", "http2", "tcp", "udp"),
    target_port=_PORT,
    certificate_id=TEXT,
    tls_passthrough=FLAG,
)
LOAD_BALANCER: Json = {
    **_object(
        ("name", "forwarding_rules"),
        name=_matches(r"[a-zA-Z0-9.\-]+"),
        region=REGION,
        size=_one_of("lb-small", "lb-medium", "lb-large"),
        size_unit={"type": "integer", "minimum": 1, "maximum": 200},
        forwarding_rules=_list(_FORWARDING_RULE, minItems=1),
        health_check=_object((), protocol=_one_of("http", "https", "tcp"), port=_PORT, path=TEXT),
        vpc_uuid=UUID_OR_EMPTY,
        project_id=UUID_OR_EMPTY,
        redirect_http_to_https=FLAG,
        enable_proxy_protocol=FLAG,
        tag=TEXT,
        droplet_ids=_list({"type": "integer"}),
    ),
    "oneOf": [{"required": ["droplet_ids"]}, {"required": ["tag"]}],
}
