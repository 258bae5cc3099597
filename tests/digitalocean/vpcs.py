"""VPCs."""

import ipaddress
from dataclasses import dataclass

from digitalocean import schemas
from digitalocean.catalogue import Json
from digitalocean.errors import RefusedError, unprocessable
from digitalocean.routes import Answer, Call, Route
from digitalocean.world import World, page, the

# RFC 1918, as the published description has it; the others are those of its page
# https://docs.digitalocean.com/products/networking/vpc/concepts/plan-your-network/
PRIVATE = [
    ipaddress.IPv4Network(each) for each in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16")
]
RESERVED = [
    ipaddress.IPv4Network(each)
    for each in ("10.229.0.0/16", "10.244.0.0/16", "10.245.0.0/16", "10.246.0.0/24")
]


@dataclass
class Vpcs:
    """The endpoints below /v2/vpcs."""

    world: World

    def routes(self) -> list[Route]:
        return [
            ("POST", "/v2/vpcs", self.create),
            ("GET", "/v2/vpcs", self.list_all),
            ("GET", "/v2/vpcs/<vpc>", self.get),
            ("PUT", "/v2/vpcs/<vpc>", self.update),
            ("PATCH", "/v2/vpcs/<vpc>", self.patch),
            ("DELETE", "/v2/vpcs/<vpc>", self.delete),
            ("GET", "/v2/vpcs/<vpc>/members", self.members),
        ]

    def create(self, call: Call) -> Answer:
        schemas.check(schemas.VPC_CREATE, call.body)
        self._check_name(call.body["name"])
        region = call.body["region"]
        ip_range = call.body.get("ip_range") or self._free_range()
        self._check_range(ip_range)
        # The first VPC of a region becomes its default one, and can never be deleted.
        first = all(vpc["region"] != region for vpc in self.world.vpcs.values())
        made = self.world.add_vpc(call.body["name"], region, ip_range, default=first)
        made["description"] = call.body.get("description", "")
        return 201, {"vpc": made}

    def list_all(self, call: Call) -> Answer:
        return page("vpcs", self.world.vpcs.values(), call.query)

    def get(self, call: Call, vpc: str) -> Answer:
        return 200, {"vpc": self._the(vpc)}

    def update(self, call: Call, vpc: str) -> Answer:
        schemas.check(schemas.VPC_UPDATE, call.body)
        return self._change(vpc, {"description": "", **call.body})

    def patch(self, call: Call, vpc: str) -> Answer:
        schemas.check(schemas.VPC_PATCH, call.body)
        return self._change(vpc, call.body)

    def _change(self, vpc: str, body: Json) -> Answer:
        found = self._the(vpc)
        if body.get("name", found["name"]) != found["name"]:
            self._check_name(body["name"])
        if body.get("default") and not found["default"]:
            self.world.default_vpc(found["region"])["default"] = False
            found["default"] = True
        found |= {key: body[key] for key in ("name", "description") if key in body}
        return 200, {"vpc": found}

    def delete(self, call: Call, vpc: str) -> Answer:
        if self._the(vpc)["default"]:
            raise RefusedError(403, "Can not delete default VPCs")
        # Published as 403; people report 409.
        if self.world.members(vpc) or self.world.haunted(vpc):
            raise RefusedError(409, "Can not delete VPC with members")
        del self.world.vpcs[vpc]
        return 204, None

    def members(self, call: Call, vpc: str) -> Answer:
        self._the(vpc)
        return page("members", self.world.members(vpc), call.query)

    def _the(self, vpc: str) -> Json:
        return the(self.world.vpcs, vpc, "vpc")

    def _check_name(self, name: str) -> None:
        if any(vpc["name"] == name for vpc in self.world.vpcs.values()):
            raise unprocessable("a VPC with the same name already exists")

    def _check_range(self, ip_range: str) -> None:
        wanted = ipaddress.IPv4Network(ip_range)
        private = any(wanted.subnet_of(each) for each in PRIVATE)
        if not private or not 16 <= wanted.prefixlen <= 28:
            raise unprocessable(
                "ip_range must be private, not larger than /16, not smaller than /28"
            )
        if any(wanted.overlaps(each) for each in RESERVED):
            raise unprocessable("ip_range overlaps with a reserved one")
        for vpc in self.world.vpcs.values():
            if wanted.overlaps(ipaddress.IPv4Network(vpc["ip_range"])):
                raise unprocessable(
                    "This range/size overlaps with another VPC network in your account: "
                    f"{vpc['name']} {vpc['ip_range']}."
                )

    def _free_range(self) -> str:
        taken = [ipaddress.IPv4Network(vpc["ip_range"]) for vpc in self.world.vpcs.values()]
        candidates = ipaddress.IPv4Network("10.200.0.0/13").subnets(new_prefix=20)
        return str(next(c for c in candidates if not any(c.overlaps(t) for t in taken)))
