"""The account itself, and what is small: projects, tags, certificates, load balancers, lists."""

from dataclasses import dataclass

from digitalocean import catalogue, schemas
from digitalocean.catalogue import Json
from digitalocean.errors import RefusedError, not_found, unprocessable
from digitalocean.routes import Answer, Call, Route
from digitalocean.world import World, new_id, now, page, the


@dataclass
class Account:
    """The endpoints that belong to no product alone."""

    world: World

    def routes(self) -> list[Route]:
        projects, tags = "/v2/projects", "/v2/tags"
        certificates, balancers = "/v2/certificates", "/v2/load_balancers"
        return [
            ("GET", "/v2/account", self.account),
            ("GET", "/v2/regions", self.regions),
            ("GET", "/v2/sizes", self.sizes),
            ("GET", "/v2/images", self.images),
            ("POST", projects, self.create_project),
            ("GET", projects, self.list_projects),
            ("GET", f"{projects}/<project>", self.get_project),
            ("PUT", f"{projects}/<project>", self.update_project),
            ("PATCH", f"{projects}/<project>", self.update_project),
            ("DELETE", f"{projects}/<project>", self.delete_project),
            ("GET", f"{projects}/<project>/resources", self.list_resources),
            ("POST", f"{projects}/<project>/resources", self.assign),
            ("POST", tags, self.create_tag),
            ("GET", tags, self.list_tags),
            ("GET", f"{tags}/<name>", self.get_tag),
            ("DELETE", f"{tags}/<name>", self.delete_tag),
            ("POST", f"{tags}/<name>/resources", self.tag_resources),
            ("DELETE", f"{tags}/<name>/resources", self.untag_resources),
            ("POST", certificates, self.create_certificate),
            ("GET", certificates, self.list_certificates),
            ("GET", f"{certificates}/<certificate>", self.get_certificate),
            ("DELETE", f"{certificates}/<certificate>", self.delete_certificate),
            ("POST", balancers, self.create_balancer),
            ("GET", balancers, self.list_balancers),
            ("GET", f"{balancers}/<balancer>", self.get_balancer),
            ("PUT", f"{balancers}/<balancer>", self.update_balancer),
            ("DELETE", f"{balancers}/<balancer>", self.delete_balancer),
        ]

    def account(self, call: Call) -> Answer:
        account = {
            "droplet_limit": 25,
            "floating_ip_limit": 5,
            "email": "sammy@example.com",
            "name": "Sammy",
            "uuid": self.world.default_project()["owner_uuid"],
            "email_verified": True,
            "status": "active",
            "status_message": "",
        }
        return 200, {"account": account}

    def regions(self, call: Call) -> Answer:
        return page("regions", catalogue.regions(), call.query)

    def sizes(self, call: Call) -> Answer:
        return page("sizes", catalogue.sizes(), call.query)

    def images(self, call: Call) -> Answer:
        debian = {
            "id": 1,
            "name": "12 x64",
            "distribution": "Debian",
            "slug": "debian-12-x64",
            "public": True,
            "type": "base",
            "regions": ["nyc1", "nyc3", "fra1"],
            "created_at": now(),
            "min_disk_size": 10,
            "size_gigabytes": 0.6,
            "description": "Debian 12 x64",
            "tags": list[str](),
            "status": "available",
        }
        return page("images", [debian], call.query)

    # --- projects ---------------------------------------------------------------------------------

    def create_project(self, call: Call) -> Answer:
        schemas.check(schemas.PROJECT_CREATE, call.body)
        if any(found["name"] == call.body["name"] for found in self.world.projects.values()):
            raise RefusedError(409, "name is already in use")
        made = {
            **self.world.default_project(),
            "description": "",
            "environment": "Development",
            **call.body,
            "id": (identifier := new_id()),
            "is_default": False,
            "created_at": now(),
            "updated_at": now(),
        }
        self.world.projects[identifier] = made
        return 201, {"project": made}

    def list_projects(self, call: Call) -> Answer:
        return page("projects", self.world.projects.values(), call.query)

    def get_project(self, call: Call, project: str) -> Answer:
        return 200, {"project": self._project(project)}

    def update_project(self, call: Call, project: str) -> Answer:
        found = self._project(project)
        schemas.check(schemas.PROJECT_UPDATE, call.body)
        keys = ("name", "description", "purpose", "environment")
        found |= {key: call.body[key] for key in keys if key in call.body}
        found["updated_at"] = now()
        return 200, {"project": found}

    def delete_project(self, call: Call, project: str) -> Answer:
        found = self._project(project)
        if found["is_default"]:
            raise RefusedError(403, "the default project can't be deleted")
        if project in self.world.assigned.values():
            raise RefusedError(412, "cannot delete a project with resources")
        del self.world.projects[project]
        return 204, None

    def list_resources(self, call: Call, project: str) -> Answer:
        identifier = self._project(project)["id"]
        assigned = [urn for urn, owner in self.world.assigned.items() if owner == identifier]
        return page("resources", [_resource(urn, "ok") for urn in assigned], call.query)

    def assign(self, call: Call, project: str) -> Answer:
        identifier = self._project(project)["id"]
        schemas.check(schemas.PROJECT_RESOURCES, call.body)
        answer = []
        for urn in call.body["resources"]:
            known = urn in self.world.assigned
            if known:
                self.world.assigned[urn] = identifier
            answer.append(_resource(urn, "assigned" if known else "not_found"))
        return 200, {"resources": answer}

    def _project(self, project: str) -> Json:
        if project == "default":
            return self.world.default_project()
        return the(self.world.projects, project, "project")

    # --- tags -------------------------------------------------------------------------------------

    def create_tag(self, call: Call) -> Answer:
        schemas.check(schemas.TAG_CREATE, call.body)
        self.world.tags.setdefault(call.body["name"], set())
        return 201, {"tag": self._tag(call.body["name"])}

    def list_tags(self, call: Call) -> Answer:
        return page("tags", [self._tag(name) for name in self.world.tags], call.query)

    def get_tag(self, call: Call, name: str) -> Answer:
        return 200, {"tag": self._tag(name)}

    def delete_tag(self, call: Call, name: str) -> Answer:
        self._tag(name)
        for _, identifier in self.world.tags.pop(name):
            self._untag_database(identifier, name)
        return 204, None

    def tag_resources(self, call: Call, name: str) -> Answer:
        self._tag(name)
        schemas.check(schemas.TAG_RESOURCES, call.body)
        for resource in call.body["resources"]:
            identifier = resource["resource_id"]
            self.world.tag([name], resource["resource_type"], identifier)
            if identifier in self.world.databases:
                tags = self.world.databases[identifier]["tags"]
                self.world.databases[identifier]["tags"] = list(dict.fromkeys([*tags, name]))
        return 204, None

    def untag_resources(self, call: Call, name: str) -> Answer:
        self._tag(name)
        schemas.check(schemas.TAG_RESOURCES, call.body)
        for resource in call.body["resources"]:
            identifier = resource["resource_id"]
            self.world.tags[name].discard((resource["resource_type"], identifier))
            self._untag_database(identifier, name)
        return 204, None

    def _untag_database(self, identifier: str, name: str) -> None:
        if identifier in self.world.databases:
            tags = self.world.databases[identifier]["tags"]
            self.world.databases[identifier]["tags"] = [tag for tag in tags if tag != name]

    def _tag(self, name: str) -> Json:
        if name not in self.world.tags:
            raise not_found("tag")
        kinds = [kind for kind, _ in self.world.tags[name]]
        databases = {"count": kinds.count("database")}
        return {"name": name, "resources": {"count": len(kinds), "databases": databases}}

    # --- certificates -----------------------------------------------------------------------------

    def create_certificate(self, call: Call) -> Answer:
        schemas.check(schemas.CERTIFICATE_CREATE, call.body)
        if any(found["name"] == call.body["name"] for found in self.world.certificates.values()):
            raise unprocessable("name is already in use")
        own = call.body["type"] == "custom"
        made = {
            "id": (identifier := new_id()),
            "name": call.body["name"],
            "type": call.body["type"],
            "state": "verified" if own else "pending",
            "dns_names": call.body.get("dns_names", []),
            "not_after": now(90 * 24 * 3600),
            "sha1_fingerprint": "dfcc9f57d86bf58e321c2c6c31c7a971be244ac7",
            "created_at": now(),
        }
        self.world.certificates[identifier] = made
        self.world.begin(identifier)
        return 201, {"certificate": made}

    def list_certificates(self, call: Call) -> Answer:
        return page("certificates", self.world.certificates.values(), call.query)

    def get_certificate(self, call: Call, certificate: str) -> Answer:
        found = the(self.world.certificates, certificate, "certificate")
        if found["state"] == "pending" and self.world.finished(certificate):
            found["state"] = "verified"
        return 200, {"certificate": found}

    def delete_certificate(self, call: Call, certificate: str) -> Answer:
        the(self.world.certificates, certificate, "certificate")
        del self.world.certificates[certificate]
        return 204, None

    # --- load balancers ---------------------------------------------------------------------------

    def create_balancer(self, call: Call) -> Answer:
        schemas.check(schemas.LOAD_BALANCER, call.body)
        if "region" not in call.body:
            raise unprocessable("region is required")
        if any(found["name"] == call.body["name"] for found in self.world.load_balancers.values()):
            raise unprocessable("name is not unique")
        region = call.body["region"]
        vpc = call.body.get("vpc_uuid") or self.world.default_vpc(region)["id"]
        made = {
            "id": (identifier := new_id()),
            "ip": "",
            "status": "new",
            "created_at": now(),
            "size_unit": 1,
            "tag": "",
            "droplet_ids": list[int](),
            "redirect_http_to_https": False,
            "enable_proxy_protocol": False,
            **{key: value for key, value in call.body.items() if value is not None},
            "region": next(r for r in catalogue.regions() if r["slug"] == region),
            "vpc_uuid": vpc,
            "project_id": call.body.get("project_id") or self.world.default_project()["id"],
        }
        self.world.load_balancers[identifier] = made
        self.world.begin(identifier)
        return 202, {"load_balancer": made}

    def list_balancers(self, call: Call) -> Answer:
        return page("load_balancers", self.world.load_balancers.values(), call.query)

    def get_balancer(self, call: Call, balancer: str) -> Answer:
        found = the(self.world.load_balancers, balancer, "load balancer")
        if found["status"] == "new" and self.world.finished(balancer):
            found |= {"status": "active", "ip": "203.0.113.20"}
        return 200, {"load_balancer": found}

    def update_balancer(self, call: Call, balancer: str) -> Answer:
        found = the(self.world.load_balancers, balancer, "load balancer")
        schemas.check(schemas.LOAD_BALANCER, call.body)
        fixed = ("id", "region", "vpc_uuid", "project_id")
        found |= {k: v for k, v in call.body.items() if v is not None and k not in fixed}
        return 200, {"load_balancer": found}

    def delete_balancer(self, call: Call, balancer: str) -> Answer:
        found = the(self.world.load_balancers, balancer, "load balancer")
        self.world.leave(found["vpc_uuid"])
        del self.world.load_balancers[balancer]
        return 204, None


def _resource(urn: str, status: str) -> Json:
    kind, _, identifier = urn.removeprefix("do:").partition(":")
    path = {"kubernetes": "kubernetes/clusters", "dbaas": "databases", "vpc": "vpcs"}.get(
        kind, kind
    )
    link = f"https://api.digitalocean.com/v2/{path}/{identifier}"
    return {"urn": urn, "assigned_at": now(), "links": {"self": link}, "status": status}
