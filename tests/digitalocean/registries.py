"""Container registries, under the path of one registry and under the newer path of several."""

import base64
import secrets
from dataclasses import dataclass

from digitalocean import schemas
from digitalocean.catalogue import REGISTRY_REGIONS, TIERS, Json
from digitalocean.errors import RefusedError, not_found, unprocessable
from digitalocean.routes import Answer, Call, Route
from digitalocean.world import World, now, the

_HOST = "registry.digitalocean.com"


@dataclass
class Registries:
    """The endpoints below /v2/registry and /v2/registries."""

    world: World

    def routes(self) -> list[Route]:
        return [
            ("POST", "/v2/registry", self.create),
            ("GET", "/v2/registry", self.get_only),
            ("DELETE", "/v2/registry", self.delete_only),
            ("GET", "/v2/registry/docker-credentials", self.credentials),
            ("POST", "/v2/registries", self.create_one_more),
            ("GET", "/v2/registries", self.list_all),
            ("GET", "/v2/registries/<name>", self.get),
            ("DELETE", "/v2/registries/<name>", self.delete),
            ("GET", "/v2/registries/<name>/docker-credentials", self.credentials),
            *(
                (method, f"/v2/{path}/subscription", handler)
                for path in ("registry", "registries")
                for method, handler in (("GET", self.subscription), ("POST", self.subscribe))
            ),
        ]

    def create(self, call: Call) -> Answer:
        schemas.check(schemas.REGISTRY_CREATE, call.body)
        return self._create(call.body)

    def create_one_more(self, call: Call) -> Answer:
        schemas.check(schemas.REGISTRIES_CREATE, call.body)
        if "subscription_tier_slug" not in call.body and self.world.subscription is None:
            raise unprocessable("subscription_tier_slug is required for the first registry")
        return self._create(call.body)

    def _create(self, body: Json) -> Answer:
        tier = body.get("subscription_tier_slug")
        # The words of both refusals are known from reports.
        if body["name"] in self.world.registries:
            raise RefusedError(409, "name already exists")
        if self.world.registries and (tier or self._tier()) != "professional":
            raise unprocessable("user already has a registry")
        if tier:
            self._subscribe(tier)
        made = {
            "name": body["name"],
            "region": body.get("region", REGISTRY_REGIONS[0]),
            "created_at": now(),
            "storage_usage_bytes": 0,
            "storage_usage_bytes_updated_at": now(),
        }
        self.world.registries[body["name"]] = made
        return 201, {"registry": {**made, "subscription": self.world.subscription}}

    def list_all(self, call: Call) -> Answer:
        found = list(self.world.registries.values())
        return 200, {"registries": found, "total_storage_usage_bytes": 0}

    def get(self, call: Call, name: str) -> Answer:
        return 200, {"registry": the(self.world.registries, name, "registry")}

    def delete(self, call: Call, name: str) -> Answer:
        the(self.world.registries, name, "registry")
        del self.world.registries[name]
        return 204, None

    def get_only(self, call: Call) -> Answer:
        return 200, {"registry": {**self._only(), "subscription": self.world.subscription}}

    def delete_only(self, call: Call) -> Answer:
        return self.delete(call, self._only()["name"])

    def _only(self) -> Json:
        if len(self.world.registries) > 1:
            raise RefusedError(
                412,
                "This API is not supported if you have created multiple registries. "
                "Please use '/v2/registries' instead.",
            )
        for found in self.world.registries.values():
            return found
        raise not_found("registry")

    def credentials(self, call: Call, name: str = "") -> Answer:
        if name:
            the(self.world.registries, name, "registry")
        token = f"dop_v1_{secrets.token_hex(32)}"
        auth = base64.b64encode(f"{token}:{token}".encode()).decode()
        return 200, {"auths": {_HOST: {"auth": auth}}}

    def subscription(self, call: Call) -> Answer:
        if self.world.subscription is None:
            raise not_found("subscription")
        return 200, {"subscription": self.world.subscription}

    def subscribe(self, call: Call) -> Answer:
        schemas.check(schemas.SUBSCRIPTION, call.body)
        if len(self.world.registries) > 1 and call.body["tier_slug"] != "professional":
            raise unprocessable("tier_slug must be professional for several registries")
        self._subscribe(call.body["tier_slug"])
        return 200, {"subscription": self.world.subscription}

    def _tier(self) -> str:
        return str(self.world.subscription["tier"]["slug"]) if self.world.subscription else ""

    def _subscribe(self, tier: str) -> None:
        since = self.world.subscription["created_at"] if self.world.subscription else now()
        self.world.subscription = {"tier": TIERS[tier], "created_at": since, "updated_at": now()}
