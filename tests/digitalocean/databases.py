"""Managed databases: clusters, users, databases, trusted sources."""

import ipaddress
import re
from dataclasses import dataclass

from digitalocean import schemas
from digitalocean.catalogue import (
    DATABASE_ADDRESSES,
    DATABASE_SIZES,
    DATABASE_VERSIONS,
    SINGLE_NODE_SIZES,
    VALKEY_DEFAULTS,
    Json,
    database_options,
)
from digitalocean.errors import unprocessable
from digitalocean.routes import Answer, Call, Route
from digitalocean.world import World, new_id, new_password, now, page, the

# Part of the host names of an account's databases.
_TEAM = "do-user-1234567-0"
_CERTIFICATE = "LS0tLS1CRUdJTiBDRVJUSUZJQ0FURS0tLS0tCm5vIHJlYWwgY2VydGlmaWNhdGUK"


@dataclass
class Databases:
    """The endpoints below /v2/databases."""

    world: World

    def routes(self) -> list[Route]:
        clusters = "/v2/databases"
        cluster = f"{clusters}/<cluster>"
        return [
            ("GET", f"{clusters}/options", self.options),
            ("POST", clusters, self.create),
            ("GET", clusters, self.list_all),
            ("GET", cluster, self.get),
            ("DELETE", cluster, self.delete),
            ("PUT", f"{cluster}/resize", self.resize),
            ("PUT", f"{cluster}/migrate", self.migrate),
            ("PUT", f"{cluster}/maintenance", self.maintain),
            ("PUT", f"{cluster}/upgrade", self.upgrade),
            ("GET", f"{cluster}/ca", self.authority),
            ("GET", f"{cluster}/config", self.config),
            ("PATCH", f"{cluster}/config", self.set_config),
            ("GET", f"{cluster}/firewall", self.firewall),
            ("PUT", f"{cluster}/firewall", self.set_firewall),
            ("POST", f"{cluster}/users", self.create_user),
            ("GET", f"{cluster}/users", self.list_users),
            ("GET", f"{cluster}/users/<name>", self.get_user),
            ("PUT", f"{cluster}/users/<name>", self.update_user),
            ("DELETE", f"{cluster}/users/<name>", self.delete_user),
            ("POST", f"{cluster}/users/<name>/reset_auth", self.reset_user),
            ("POST", f"{cluster}/dbs", self.create_db),
            ("GET", f"{cluster}/dbs", self.list_dbs),
            ("GET", f"{cluster}/dbs/<name>", self.get_db),
            ("DELETE", f"{cluster}/dbs/<name>", self.delete_db),
        ]

    def options(self, call: Call) -> Answer:
        return 200, {"options": database_options()}

    # --- clusters ---------------------------------------------------------------------------------

    def create(self, call: Call) -> Answer:
        body = call.body
        schemas.check(schemas.DATABASE_CREATE, body)
        if any(found["name"] == body["name"] for found in self.world.databases.values()):
            raise unprocessable("cluster name is not available")
        engine = body["engine"]
        version = body.get("version") or DATABASE_VERSIONS[engine][-1]
        if version not in DATABASE_VERSIONS[engine]:
            raise unprocessable("invalid cluster engine version")
        _check_layout(body)
        identifier = new_id()
        rules = [self._new_rule(identifier, rule) for rule in body.get("rules") or []]
        first_db = DATABASE_ADDRESSES[engine][2]
        password = new_password()
        made = {
            "id": identifier,
            "name": body["name"],
            "engine": engine,
            "version": version,
            "semantic_version": f"{version}.4",
            "num_nodes": body["num_nodes"],
            "size": body["size"],
            "region": body["region"],
            "status": "creating",
            "created_at": now(),
            "private_network_uuid": self._vpc(body),
            "project_id": self._project(body),
            "tags": body.get("tags") or [],
            "connection": _connection(engine, body["name"], password),
            "private_connection": _connection(engine, f"private-{body['name']}", password),
            "users": [{"name": "doadmin", "role": "primary", "password": password}],
            "db_names": [first_db] if first_db else [],
            "maintenance_window": {"day": "saturday", "hour": "08:45:12", "pending": False},
            "storage_size_mib": body.get("storage_size_mib") or DATABASE_SIZES[body["size"]],
        }
        self.world.databases[identifier] = made
        self.world.firewalls[identifier] = rules
        self.world.assigned[f"do:dbaas:{identifier}"] = made["project_id"]
        self.world.tag(made["tags"], "database", identifier)
        self.world.begin(identifier)
        return 201, {"database": made}

    def list_all(self, call: Call) -> Answer:
        wanted = call.query.get("tag_name")
        found = [
            cluster
            for cluster in self.world.databases.values()
            if wanted is None or wanted in cluster["tags"]
        ]
        return 200, {"databases": found}

    def get(self, call: Call, cluster: str) -> Answer:
        found = self._the(cluster)
        if found["status"] != "online" and self.world.finished(cluster):
            found["status"] = "online"
        return 200, {"database": found}

    def delete(self, call: Call, cluster: str) -> Answer:
        self.world.leave(self._the(cluster)["private_network_uuid"])
        del self.world.databases[cluster]
        return 204, None

    def resize(self, call: Call, cluster: str) -> Answer:
        found, body = self._the(cluster), call.body
        schemas.check(schemas.DATABASE_RESIZE, body)
        _check_layout(body)
        storage = body.get("storage_size_mib") or max(
            found["storage_size_mib"], DATABASE_SIZES[body["size"]]
        )
        if storage < found["storage_size_mib"]:
            raise unprocessable("storage_size_mib can only grow")
        found |= {"size": body["size"], "num_nodes": body["num_nodes"]}
        found |= {"storage_size_mib": storage, "status": "resizing"}
        self.world.begin(cluster)
        return 202, None

    def migrate(self, call: Call, cluster: str) -> Answer:
        found = self._the(cluster)
        schemas.check(schemas.DATABASE_MIGRATE, call.body)
        found |= {"region": call.body["region"], "status": "migrating"}
        found["private_network_uuid"] = self._vpc(call.body)
        self.world.begin(cluster)
        return 202, None

    def maintain(self, call: Call, cluster: str) -> Answer:
        found = self._the(cluster)
        schemas.check(schemas.DATABASE_MAINTENANCE, call.body)
        hour = call.body["hour"]
        window = {"day": call.body["day"], "hour": hour if hour.count(":") > 1 else f"{hour}:00"}
        found["maintenance_window"] |= window
        return 204, None

    def upgrade(self, call: Call, cluster: str) -> Answer:
        found = self._the(cluster)
        schemas.check(schemas.DATABASE_UPGRADE, call.body)
        versions = DATABASE_VERSIONS[found["engine"]]
        wanted = call.body["version"]
        if wanted not in versions or versions.index(wanted) <= versions.index(found["version"]):
            raise unprocessable("invalid cluster engine version")
        found |= {"version": wanted, "semantic_version": f"{wanted}.4"}
        return 204, None

    def authority(self, call: Call, cluster: str) -> Answer:
        self._the(cluster)
        return 200, {"ca": {"certificate": _CERTIFICATE}}

    # --- settings ---------------------------------------------------------------------------------

    def config(self, call: Call, cluster: str) -> Answer:
        found = self._the(cluster)
        if found["engine"] != "valkey":
            raise unprocessable("the double knows no configuration of this engine")
        return 200, {"config": {**VALKEY_DEFAULTS, **self.world.database_configs.get(cluster, {})}}

    def set_config(self, call: Call, cluster: str) -> Answer:
        self.config(call, cluster)
        schemas.check(schemas.VALKEY_CONFIG, call.body)
        self.world.database_configs.setdefault(cluster, {}).update(call.body["config"])
        return 200, None

    # --- trusted sources --------------------------------------------------------------------------

    def firewall(self, call: Call, cluster: str) -> Answer:
        self._the(cluster)
        return 200, {"rules": self.world.firewalls[cluster]}

    def set_firewall(self, call: Call, cluster: str) -> Answer:
        self._the(cluster)
        schemas.check(schemas.DATABASE_FIREWALL, call.body)
        old = {(rule["type"], rule["value"]): rule for rule in self.world.firewalls[cluster]}
        # A rule that stays, stays the same one.
        self.world.firewalls[cluster] = [
            old.get((rule["type"], rule["value"])) or self._new_rule(cluster, rule)
            for rule in call.body["rules"]
        ]
        return 204, None

    def _new_rule(self, cluster: str, rule: Json) -> Json:
        kind, value = rule["type"], rule["value"]
        if kind == "k8s" and value not in self.world.clusters:
            raise unprocessable(f"rules: there is no Kubernetes cluster {value}")
        if kind == "ip_addr" and not _is_ipv4(value):
            raise unprocessable(f"rules: {value} is no IPv4 address or range")
        if kind == "droplet" and not value.isdecimal():
            raise unprocessable(f"rules: {value} is no droplet's id")
        if kind == "tag" and not re.fullmatch(schemas.TAG["pattern"], value):
            raise unprocessable(f"rules: {value} is no tag")
        made = {"uuid": new_id(), "cluster_uuid": cluster, "type": kind, "value": value}
        return {**made, "created_at": now(), "description": rule.get("description", "")}

    # --- users ------------------------------------------------------------------------------------

    def create_user(self, call: Call, cluster: str) -> Answer:
        found, body = self._the(cluster), call.body
        schemas.check(schemas.DATABASE_USER, body)
        if any(user["name"] == body["name"] for user in found["users"]):
            raise unprocessable(f"user {body['name']} already exists")
        made = {"name": body["name"], "role": "normal", "password": new_password()}
        if found["engine"] == "mysql":
            made["mysql_settings"] = body.get("mysql_settings") or {
                "auth_plugin": "caching_sha2_password"
            }
        if "settings" in body:
            made["settings"] = body["settings"]
        found["users"].append(made)
        return 201, {"user": made}

    def list_users(self, call: Call, cluster: str) -> Answer:
        return page("users", self._the(cluster)["users"], {"per_page": "200"})

    def get_user(self, call: Call, cluster: str, name: str) -> Answer:
        return 200, {"user": self._user(cluster, name)}

    def update_user(self, call: Call, cluster: str, name: str) -> Answer:
        found = self._user(cluster, name)
        schemas.check(schemas.DATABASE_USER_UPDATE, call.body)
        found["settings"] = call.body["settings"]
        return 201, {"user": found}

    def delete_user(self, call: Call, cluster: str, name: str) -> Answer:
        found = self._user(cluster, name)
        if found["role"] == "primary":
            raise unprocessable("the primary user can't be deleted")
        self._the(cluster)["users"].remove(found)
        return 204, None

    def reset_user(self, call: Call, cluster: str, name: str) -> Answer:
        found = self._user(cluster, name)
        found["password"] = new_password()
        if found["role"] == "primary":
            cluster_found = self._the(cluster)
            engine, own = cluster_found["engine"], cluster_found["name"]
            cluster_found["connection"] = _connection(engine, own, found["password"])
            private = _connection(engine, f"private-{own}", found["password"])
            cluster_found["private_connection"] = private
        return 200, {"user": found}

    # --- databases in a cluster -------------------------------------------------------------------

    def create_db(self, call: Call, cluster: str) -> Answer:
        found = self._the(cluster)
        schemas.check(schemas.DATABASE_DB, call.body)
        name = call.body["name"]
        if name in found["db_names"]:
            raise unprocessable(f"database {name} already exists")
        found["db_names"].append(name)
        return 201, {"db": {"name": name}}

    def list_dbs(self, call: Call, cluster: str) -> Answer:
        return 200, {"dbs": [{"name": name} for name in self._the(cluster)["db_names"]]}

    def get_db(self, call: Call, cluster: str, name: str) -> Answer:
        return 200, {"db": self._db(cluster, name)}

    def delete_db(self, call: Call, cluster: str, name: str) -> Answer:
        self._db(cluster, name)
        self._the(cluster)["db_names"].remove(name)
        return 204, None

    # --- helpers ----------------------------------------------------------------------------------

    def _the(self, cluster: str) -> Json:
        return the(self.world.databases, cluster, "cluster")

    def _user(self, cluster: str, name: str) -> Json:
        return the({user["name"]: user for user in self._the(cluster)["users"]}, name, "user")

    def _db(self, cluster: str, name: str) -> Json:
        return the({db: {"name": db} for db in self._the(cluster)["db_names"]}, name, "database")

    def _vpc(self, body: Json) -> str:
        wanted = body.get("private_network_uuid")
        if not wanted:
            return str(self.world.default_vpc(body["region"])["id"])
        if self.world.vpcs.get(wanted, {}).get("region") != body["region"]:
            raise unprocessable("private_network_uuid must be a VPC of the cluster's region")
        return str(wanted)

    def _project(self, body: Json) -> str:
        wanted = body.get("project_id") or self.world.default_project()["id"]
        return str(the(self.world.projects, wanted, "project")["id"])


def _check_layout(body: Json) -> None:
    if body["num_nodes"] > 1 and body["size"] in SINGLE_NODE_SIZES:
        raise unprocessable(f"num_nodes must be 1 for the size {body['size']}")


def _connection(engine: str, host: str, password: str) -> Json:
    scheme, port, database, query = DATABASE_ADDRESSES[engine]
    name = f"{host}-{_TEAM}.e.db.ondigitalocean.com"
    return {
        "protocol": scheme,
        "uri": f"{scheme}://doadmin:{password}@{name}:{port}/{database}{query}",
        "database": database,
        "host": name,
        "port": port,
        "user": "doadmin",
        "password": password,
        "ssl": True,
    }


def _is_ipv4(value: str) -> bool:
    try:
        return bool(ipaddress.IPv4Network(value, strict=False))
    except ValueError:
        return False
