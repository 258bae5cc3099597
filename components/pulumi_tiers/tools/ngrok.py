"""ngrok's agent, through which the Internet reaches what it forwards to.

Sources: github.com/ngrok/docker-ngrok (alpine.nix, build.nix: user 1000:100, no default command;
scripts/entrypoint.sh writes the token into the image, so it isn't used here);
https://ngrok.com/docs/agent/config/v3; https://ngrok.com/docs/agent/api (GET /api/status).
"""

import json
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from pulumi_tiers.model.workload import (
    CONFIGS,
    Condition,
    Healthcheck,
    Port,
    Resources,
    Workload,
)

_CONFIG = "ngrok.yml"
_TOKEN = "NGROK_AUTHTOKEN"  # noqa: S105 - a variable's name
# The token is in no command line. Files are merged; each says its version.
_START = f"""set -eu
: "${{{_TOKEN}:?is missing: set it in tiers:secrets}}"
umask 077
printf 'version: 3\\nagent:\\n  authtoken: "%s"\\n' "${_TOKEN}" >/tmp/token.yml
unset {_TOKEN}
exec ngrok start --all --config={CONFIGS}/{_CONFIG} --config=/tmp/token.yml
"""


class Tunnel(NamedTuple):
    """What is reached from the Internet."""

    #: ``nginx:8080``.
    upstream: str
    #: The host's name, one of the account's. Default: a random one.
    domain: str | None = None


def ngrok(
    tunnels: Mapping[str, Tunnel], *, after: Iterable[str] = (), published: int | None = 4040
) -> Workload:
    """`tunnels` by name; `after`: the services that it starts after.

    The stack sets the secret NGROK_AUTHTOKEN: without, it doesn't start. Everybody in the network
    reads what passes through it on port 4040, which asks for no password.
    """
    config = {
        "version": 3,
        "agent": {
            "web_addr": "0.0.0.0:4040",
            "console_ui": False,
            "log": "stdout",
            "update_check": False,
            "remote_management": False,
        },
        "endpoints": [
            {
                "name": name,
                "url": f"https://{tunnel.domain}" if tunnel.domain else "https://",
                "upstream": {"url": f"http://{tunnel.upstream}"},
            }
            for name, tunnel in tunnels.items()
        ],
    }
    return Workload(
        image="ngrok/ngrok:3.39.11-alpine",
        entrypoint=["sh", "-c"],
        command=[_START],
        required_secrets=[_TOKEN],
        # YAML takes JSON as it is.
        configs={_CONFIG: json.dumps(config, indent=2) + "\n"},
        ports=[Port(target=4040, published=published)],
        tmpfs={"/tmp": "uid=1000,gid=1000"},  # noqa: S108
        healthcheck=Healthcheck(
            test=[
                "CMD-SHELL",
                "wget -q -O - http://127.0.0.1:4040/api/status | grep -q '\"online\"'",
            ],
            interval="10s",
            timeout="5s",
            retries=6,
            start_period="30s",
        ),
        depends_on=dict.fromkeys(after, Condition.SERVICE_STARTED),
        profiles=["ngrok"],
        resources=Resources(cpus=0.5, memory="128m"),
        docker_only="a cluster has a load balancer, and needs no tunnel",
        unverified=True,
    )
