"""Kubernetes clusters and their node pools."""

import base64
import secrets
from dataclasses import dataclass

import yaml

from digitalocean import schemas
from digitalocean.catalogue import NODE_SIZES, Json, kubernetes_options
from digitalocean.errors import not_found, unprocessable
from digitalocean.routes import Answer, Call, Route
from digitalocean.world import World, new_id, now, page, the

_SWITCHES = (
    "routing_agent",
    "p2p_oci_registry_plugin",
    "amd_gpu_device_plugin",
    "amd_gpu_device_metrics_exporter_plugin",
    "nvidia_gpu_device_plugin",
    "rdma_shared_dev_plugin",
    "coredns_autoscaler",
)
# Belongs to nothing: no server listens at the names that a cluster without a real server has.
_CERTIFICATE = (
    "-----BEGIN CERTIFICATE-----\nbm8gcmVhbCBjZXJ0aWZpY2F0ZQ==\n-----END CERTIFICATE-----\n"
)


@dataclass
class Kubernetes:
    """The endpoints below /v2/kubernetes."""

    world: World

    def routes(self) -> list[Route]:
        clusters = "/v2/kubernetes/clusters"
        cluster = f"{clusters}/<cluster>"
        pools = f"{cluster}/node_pools"
        associated = f"{cluster}/destroy_with_associated_resources"
        return [
            ("GET", "/v2/kubernetes/options", self.options),
            ("POST", clusters, self.create),
            ("GET", clusters, self.list_all),
            ("GET", cluster, self.get),
            ("PUT", cluster, self.update),
            ("DELETE", cluster, self.delete),
            ("GET", associated, self.associated),
            ("DELETE", f"{associated}/dangerous", self.delete_everything),
            ("GET", f"{cluster}/kubeconfig", self.kubeconfig),
            ("GET", f"{cluster}/credentials", self.credentials),
            ("GET", f"{cluster}/upgrades", self.upgrades),
            ("POST", f"{cluster}/upgrade", self.upgrade),
            ("POST", pools, self.create_pool),
            ("GET", pools, self.list_pools),
            ("GET", f"{pools}/<pool>", self.get_pool),
            ("PUT", f"{pools}/<pool>", self.update_pool),
            ("DELETE", f"{pools}/<pool>", self.delete_pool),
            ("POST", "/v2/kubernetes/registry", self.integrate),
            ("DELETE", "/v2/kubernetes/registry", self.separate),
        ]

    def options(self, call: Call) -> Answer:
        return 200, {"options": kubernetes_options(self.world.kubernetes_versions)}

    # --- clusters ---------------------------------------------------------------------------------

    def create(self, call: Call) -> Answer:
        schemas.check(schemas.CLUSTER_CREATE, call.body)
        body = call.body
        self._check_name(body["name"])
        version = self._resolve(body["version"])
        for number, pool in enumerate(body["node_pools"]):
            _check_pool(pool, f"worker_node_pool_specs[{number}]", fewest=1)
        vpc = self._vpc(body)
        identifier = new_id()
        default_ha = int(version.split(".")[1]) >= 36
        server = self.world.kubernetes_server
        made = {
            "id": identifier,
            "name": body["name"],
            "region": body["region"],
            "version": version,
            "vpc_uuid": vpc,
            "cluster_subnet": body.get("cluster_subnet", "10.244.0.0/16"),
            "service_subnet": body.get("service_subnet", "10.245.0.0/16"),
            "ipv4": "",
            "endpoint": server.url if server else f"https://{identifier}.k8s.ondigitalocean.com",
            "tags": _tags(identifier, body.get("tags")),
            "node_pools": [self._new_pool(identifier, pool) for pool in body["node_pools"]],
            "maintenance_policy": _maintenance(body.get("maintenance_policy")),
            "auto_upgrade": body.get("auto_upgrade", False),
            "surge_upgrade": body.get("surge_upgrade", False),
            "ha": body.get("ha", default_ha),
            "registry_enabled": False,
            "control_plane_firewall": {"enabled": False, "allowed_addresses": list[str]()},
            "cluster_autoscaler_configuration": None,
            "sso": None,
            **{switch: {"enabled": False} for switch in _SWITCHES},
            "status": {"state": "provisioning", "message": "provisioning"},
            "created_at": now(),
            "updated_at": now(),
        }
        _adopt(made, body)
        self.world.clusters[identifier] = made
        self.world.assigned[f"do:kubernetes:{identifier}"] = self.world.default_project()["id"]
        self.world.begin(identifier)
        return 201, {"kubernetes_cluster": made}

    def list_all(self, call: Call) -> Answer:
        return page("kubernetes_clusters", self.world.clusters.values(), call.query)

    def get(self, call: Call, cluster: str) -> Answer:
        found = self._the(cluster)
        if found["status"]["state"] != "running" and self.world.finished(cluster):
            found["status"] = {"state": "running"}
            found["ipv4"] = "" if found["ha"] else "203.0.113.10"
            for pool in found["node_pools"]:
                _start_nodes(pool)
        return 200, {"kubernetes_cluster": found}

    def update(self, call: Call, cluster: str) -> Answer:
        schemas.check(schemas.CLUSTER_UPDATE, call.body)
        found, body = self._the(cluster), call.body
        if body["name"] != found["name"]:
            self._check_name(body["name"])
        if found["ha"] and body.get("ha") is False:
            raise unprocessable("ha cannot be disabled once it is enabled")
        found |= {
            key: body[key] for key in ("name", "auto_upgrade", "surge_upgrade", "ha") if key in body
        }
        if body.get("tags") is not None:
            found["tags"] = _tags(cluster, body["tags"])
        if body.get("maintenance_policy"):
            found["maintenance_policy"] = _maintenance(body["maintenance_policy"])
        _adopt(found, body)
        found["updated_at"] = now()
        return 202, {"kubernetes_cluster": found}

    def delete(self, call: Call, cluster: str) -> Answer:
        self.world.leave(self._the(cluster)["vpc_uuid"])
        del self.world.clusters[cluster]
        return 204, None

    def associated(self, call: Call, cluster: str) -> Answer:
        """What the cluster made: load balancers that carry its tag."""
        self._the(cluster)
        found = [
            {"id": balancer["id"], "name": balancer["name"]}
            for balancer in self._balancers(cluster)
        ]
        return 200, {"load_balancers": found, "volumes": [], "volume_snapshots": []}

    def delete_everything(self, call: Call, cluster: str) -> Answer:
        self._the(cluster)
        for balancer in self._balancers(cluster):
            del self.world.load_balancers[balancer["id"]]
        return self.delete(call, cluster)

    def _balancers(self, cluster: str) -> list[Json]:
        return [b for b in self.world.load_balancers.values() if b.get("tag") == f"k8s:{cluster}"]

    def upgrades(self, call: Call, cluster: str) -> Answer:
        current = _number(self._the(cluster)["version"])
        newer = [
            version
            for version in kubernetes_options(self.world.kubernetes_versions)["versions"]
            if _number(version["slug"]) > current
        ]
        return 200, {"available_upgrade_versions": newer or None}

    def upgrade(self, call: Call, cluster: str) -> Answer:
        schemas.check(schemas.CLUSTER_UPGRADE, call.body)
        found = self._the(cluster)
        wanted = call.body["version"]
        # "latest" and minor versions are understood on creation only.
        if wanted not in self.world.kubernetes_versions or _number(wanted) <= _number(
            found["version"]
        ):
            raise unprocessable("validation error: invalid version slug")
        found |= {"version": wanted, "status": {"state": "upgrading"}, "updated_at": now()}
        self.world.begin(cluster)
        return 202, None

    # --- access -----------------------------------------------------------------------------------

    def credentials(self, call: Call, cluster: str) -> Answer:
        authority, token, seconds = self._access(call, cluster)
        return 200, {
            "server": self._the(cluster)["endpoint"],
            "certificate_authority_data": base64.b64encode(authority.encode()).decode(),
            "client_certificate_data": None,
            "client_key_data": None,
            "token": token,
            "expires_at": now(seconds),
        }

    def kubeconfig(self, call: Call, cluster: str) -> Answer:
        authority, token, _ = self._access(call, cluster)
        found = self._the(cluster)
        name = f"do-{found['region']}-{found['name']}"
        user = f"{name}-admin"
        data = base64.b64encode(authority.encode()).decode()
        server = {"certificate-authority-data": data, "server": found["endpoint"]}
        return 200, yaml.safe_dump(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "clusters": [{"name": name, "cluster": server}],
                "contexts": [{"name": name, "context": {"cluster": name, "user": user}}],
                "current-context": name,
                "preferences": {},
                "users": [{"name": user, "user": {"token": token}}],
            }
        )

    def _access(self, call: Call, cluster: str) -> tuple[str, str, int]:
        """The authority, a token, and how long it lives."""
        self._the(cluster)
        # Zero asks for the default.
        seconds = int(call.query.get("expiry_seconds", 0)) or self.world.credential_seconds
        server = self.world.kubernetes_server
        if server:
            return server.certificate_authority, server.token, seconds
        return _CERTIFICATE, f"dop_v1_{secrets.token_hex(32)}", seconds

    # --- node pools -------------------------------------------------------------------------------

    def create_pool(self, call: Call, cluster: str) -> Answer:
        found = self._the(cluster)
        schemas.check(schemas.POOL_CREATE, call.body)
        _check_pool(call.body, "worker_node_pool_spec", fewest=0)
        self._check_pool_name(found, call.body["name"])
        made = self._new_pool(cluster, call.body)
        found["node_pools"].append(made)
        return 201, {"node_pool": made}

    def list_pools(self, call: Call, cluster: str) -> Answer:
        return page("node_pools", self._the(cluster)["node_pools"], call.query)

    def get_pool(self, call: Call, cluster: str, pool: str) -> Answer:
        found = self._pool(cluster, pool)
        if self.world.finished(pool):
            _start_nodes(found)
        return 200, {"node_pool": found}

    def update_pool(self, call: Call, cluster: str, pool: str) -> Answer:
        found = self._pool(cluster, pool)
        schemas.check(schemas.POOL_UPDATE, call.body)
        changed = {**found, **call.body}
        fewest = 0 if len(self._the(cluster)["node_pools"]) > 1 else 1
        _check_pool(changed, "worker_node_pool_spec", fewest=fewest)
        if changed["name"] != found["name"]:
            self._check_pool_name(self._the(cluster), changed["name"])
        keys = ("name", "count", "auto_scale", "min_nodes", "max_nodes")
        found |= {key: changed[key] for key in keys}
        found |= {key: call.body[key] or empty for key, empty in _EMPTY if key in call.body}
        if "tags" in call.body:
            found["tags"] = _tags(cluster, call.body["tags"], "k8s:worker")
        kept = found["nodes"][: found["count"]]
        found["nodes"] = kept + _new_nodes(found["count"] - len(kept))
        self.world.begin(pool)
        return 202, {"node_pool": found}

    def delete_pool(self, call: Call, cluster: str, pool: str) -> Answer:
        found = self._the(cluster)
        if len(found["node_pools"]) == 1:
            raise unprocessable("validation error: cannot delete the last node pool of a cluster")
        found["node_pools"].remove(self._pool(cluster, pool))
        return 204, None

    # --- registries -------------------------------------------------------------------------------

    def integrate(self, call: Call) -> Answer:
        return self._set_registry(call, enabled=True)

    def separate(self, call: Call) -> Answer:
        return self._set_registry(call, enabled=False)

    def _set_registry(self, call: Call, *, enabled: bool) -> Answer:
        schemas.check(schemas.CLUSTER_IDS, call.body)
        if not self.world.registries:
            raise not_found("registry")
        for cluster in call.body["cluster_uuids"]:
            self._the(cluster)["registry_enabled"] = enabled
        return 204, None

    # --- helpers ----------------------------------------------------------------------------------

    def _the(self, cluster: str) -> Json:
        return the(self.world.clusters, cluster, "cluster")

    def _pool(self, cluster: str, pool: str) -> Json:
        pools = {found["id"]: found for found in self._the(cluster)["node_pools"]}
        return the(pools, pool, "node pool")

    def _check_name(self, name: str) -> None:
        if any(cluster["name"] == name for cluster in self.world.clusters.values()):
            raise unprocessable("a cluster with this name already exists")

    def _check_pool_name(self, cluster: Json, name: str) -> None:
        if any(pool["name"] == name for pool in cluster["node_pools"]):
            raise unprocessable("validation error: a node pool with this name already exists")

    def _resolve(self, wanted: str) -> str:
        """A version, a minor version, or "latest", as a version."""
        newest = sorted(self.world.kubernetes_versions, key=_number, reverse=True)
        for version in newest:
            if wanted in (version, "latest", ".".join(version.split(".")[:2])):
                return version
        raise unprocessable("validation error: invalid version slug")

    def _vpc(self, body: Json) -> str:
        wanted = body.get("vpc_uuid")
        if wanted is None:
            return str(self.world.default_vpc(body["region"])["id"])
        if self.world.vpcs.get(wanted, {}).get("region") != body["region"]:
            raise unprocessable("vpc_uuid must be a VPC of the cluster's region")
        return str(wanted)

    def _new_pool(self, cluster: str, body: Json) -> Json:
        scales = body.get("auto_scale", False)
        made = {
            "id": (identifier := new_id()),
            "name": body["name"],
            "size": body["size"],
            "count": (count := body.get("count") or body.get("min_nodes", 0)),
            "tags": _tags(cluster, body.get("tags"), "k8s:worker"),
            "labels": body.get("labels"),
            # Whether the API tells the one that nodes with GPUs get anyway, nobody has written.
            "taints": [*(body.get("taints") or []), *_own_taints(body["size"])],
            "auto_scale": scales,
            # Clients leave a zero out.
            "min_nodes": body.get("min_nodes", 0) if scales else 0,
            "max_nodes": body["max_nodes"] if scales else 0,
            "nodes": _new_nodes(count),
        }
        self.world.begin(identifier)
        return made


_EMPTY: tuple[tuple[str, Json | list[Json] | None], ...] = (("labels", None), ("taints", []))


def _tags(cluster: str, own: list[str] | None, *more: str) -> list[str]:
    """DigitalOcean's own tags stand before everybody's."""
    return list(dict.fromkeys(["k8s", f"k8s:{cluster}", *more, *(own or [])]))


def _maintenance(wanted: Json | None) -> Json:
    policy = {key: value for key, value in (wanted or {}).items() if value}
    return {"start_time": "00:00", "day": "any", **policy, "duration": "4h0m0s"}


def _adopt(cluster: Json, body: Json) -> None:
    """Optional parts of a cluster. Clients send empty ones for "as it is"."""
    for key in (*_SWITCHES, "control_plane_firewall", "cluster_autoscaler_configuration", "sso"):
        given = {k: v for k, v in (body.get(key) or {}).items() if v is not None}
        if given:
            cluster[key] = {**(cluster[key] or {}), **given}


def _own_taints(size: str) -> list[Json]:
    return [{"key": "nvidia.com/gpu", "effect": "NoSchedule"}] if size.startswith("gpu-") else []


def _check_pool(pool: Json, place: str, fewest: int) -> None:
    """With autoscaling, a pool that isn't alone can be empty."""
    if pool["size"] not in NODE_SIZES:
        raise unprocessable(f"validation error: {place}.invalid droplet size")
    if not pool.get("auto_scale"):
        if not pool.get("count"):
            raise unprocessable(f"validation error: {place}.count must be at least 1")
        return
    lowest, highest = pool.get("min_nodes", 0), pool.get("max_nodes", 0)
    if lowest < fewest:
        raise unprocessable(
            f"validation error: {place}.min nodes must be greater than or equal to {fewest}"
        )
    if not lowest <= (pool.get("count") or lowest) <= highest:
        raise unprocessable(f"validation error: {place}.count must be between min and max nodes")


def _new_nodes(count: int) -> list[Json]:
    return [
        {
            "id": new_id(),
            "name": "",
            "status": {"state": "provisioning"},
            "droplet_id": "",
            "created_at": now(),
            "updated_at": now(),
        }
        for _ in range(count)
    ]


def _start_nodes(pool: Json) -> None:
    for node in pool["nodes"]:
        if node["status"]["state"] == "provisioning":
            node |= {
                "name": f"{pool['name']}-{secrets.token_hex(3)}",
                "status": {"state": "running"},
                "droplet_id": str(secrets.randbelow(10**9)),
                "updated_at": now(),
            }


def _number(version: str) -> tuple[int, ...]:
    """1.36.3-do.0 as numbers, to compare by; nothing for words."""
    digits = version.replace("-do", "").split(".")
    return tuple(int(part) for part in digits) if all(p.isdigit() for p in digits) else ()
