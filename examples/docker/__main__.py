"""Somebody's own program on Docker: a database from the library beside a container of its own.

Twice in one stack: each guestbook has its network, its database and its passwords.
"""

import pulumi
import pulumi_docker as docker
from pulumi_tiers import DataTier, Site

config = pulumi.Config()


def guestbook(name: str, port: int) -> str:
    """One guestbook; its URL."""
    site = Site(name, {})
    data = DataTier(
        f"{name}-data",
        {
            "site": site.ref,
            "stores": {
                "postgres": {
                    "engine": "postgres",
                    "image": config.require("database_image"),
                    "databases": [{"name": "entries", "owner": "writer"}],
                }
            },
        },
    )
    docker.Container(
        f"{name}-web",
        name=f"{pulumi.get_stack()}-{name}-web",
        image=config.require("image"),
        envs=[pulumi.Output.concat("DATABASE_URL=", data.connections["postgres"]["url"])],
        networks_advanced=[{"name": site.network}],
        ports=[{"internal": 8000, "external": port, "ip": "127.0.0.1"}],
        # When the database takes connections, and not before.
        opts=pulumi.ResourceOptions(depends_on=[data]),
    )
    return f"http://127.0.0.1:{port}"


first = config.require_int("port")
pulumi.export("urls", [guestbook("home", first), guestbook("work", first + 1)])
