"""Access keys of Spaces. The buckets themselves are S3's: a server of that kind stands for them."""

import secrets
from dataclasses import dataclass

from digitalocean import schemas
from digitalocean.catalogue import Json
from digitalocean.routes import Answer, Call, Route
from digitalocean.world import World, now, page, the


@dataclass
class Spaces:
    """The endpoints below /v2/spaces."""

    world: World

    def routes(self) -> list[Route]:
        return [
            ("POST", "/v2/spaces/keys", self.create),
            ("GET", "/v2/spaces/keys", self.list_all),
            ("GET", "/v2/spaces/keys/<key>", self.get),
            ("PUT", "/v2/spaces/keys/<key>", self.update),
            ("DELETE", "/v2/spaces/keys/<key>", self.delete),
        ]

    def create(self, call: Call) -> Answer:
        schemas.check(schemas.SPACES_KEY, call.body)
        made = {
            "name": call.body["name"],
            "access_key": f"DO00{secrets.token_hex(8).upper()}",
            "grants": call.body.get("grants", []),
            "created_at": now(),
        }
        self.world.spaces_keys[made["access_key"]] = made
        # Told once, and never again.
        return 201, {"key": {**made, "secret_key": secrets.token_urlsafe(32)}}

    def list_all(self, call: Call) -> Answer:
        return page("keys", self.world.spaces_keys.values(), call.query)

    def get(self, call: Call, key: str) -> Answer:
        del call
        return 200, {"key": self._the(key)}

    def update(self, call: Call, key: str) -> Answer:
        schemas.check(schemas.SPACES_KEY, call.body)
        found = self._the(key)
        found.update({"name": call.body["name"], "grants": call.body.get("grants", [])})
        return 200, {"key": found}

    def _the(self, key: str) -> Json:
        return the(self.world.spaces_keys, key, "key")

    def delete(self, call: Call, key: str) -> Answer:
        del call
        self._the(key)
        del self.world.spaces_keys[key]
        return 204, None
