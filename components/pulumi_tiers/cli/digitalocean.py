"""Questions to DigitalOcean's API that the engine doesn't ask: a cluster's token, the account."""

import json
import os
from typing import Any
from urllib.error import HTTPError
from urllib.parse import quote
from urllib.request import Request, urlopen

from pulumi_tiers.cli.console import EXIT_INPUT, EXIT_MISSING, Stop
from pulumi_tiers.model.cloud import CREDENTIAL_VERSION

#: The variables that DigitalOcean's own tools read.
TOKENS = ("DIGITALOCEAN_TOKEN", "DIGITALOCEAN_ACCESS_TOKEN")
_API = "https://api.digitalocean.com"
_SECONDS = 30


def credential(cluster: str) -> dict[str, Any]:
    """An ExecCredential for the cluster of that id. Raises Stop where there is none."""
    path = f"kubernetes/clusters/{quote(cluster, safe='')}/credentials"
    found = _get(path, f"cluster {cluster}")
    status = {"token": found.get("token"), "expirationTimestamp": found.get("expires_at")}
    return {"apiVersion": CREDENTIAL_VERSION, "kind": "ExecCredential", "status": status}


def account() -> str:
    """The state of the token's account: ``active``. Raises Stop where it can't be asked."""
    return str(_get("account", "account").get("account", {}).get("status"))


def _get(path: str, what: str) -> dict[str, Any]:
    """What the API answers. Raises Stop with what to do."""
    token = next((os.environ[name] for name in TOKENS if os.environ.get(name)), "")
    if not token:
        raise Stop(f"no token of DigitalOcean: set {TOKENS[0]}", EXIT_MISSING)
    # The provider's own variable for another address of the API.
    api = os.environ.get("DIGITALOCEAN_API_URL") or _API
    if not api.startswith(("https://", "http://")):
        raise Stop(f"DIGITALOCEAN_API_URL is not the address of an API: {api}", EXIT_INPUT)
    request = Request(  # noqa: S310 - the schemes were checked
        f"{api.rstrip('/')}/v2/{path}", headers={"Authorization": f"Bearer {token}"}
    )
    try:
        with urlopen(request, timeout=_SECONDS) as answer:  # noqa: S310
            found = json.load(answer)
    except HTTPError as error:
        told = {
            401: f"DigitalOcean refuses the token in {TOKENS[0]}",
            403: f"the token in {TOKENS[0]} may not read the {what}",
            404: f"the token's account has no {what}",
        }
        why = told.get(error.code, f"DigitalOcean answers {error.code} for the {what}")
        raise Stop(why, EXIT_INPUT if error.code in told else 1) from None
    except (OSError, ValueError) as error:
        raise Stop(f"DigitalOcean's API at {api} does not answer as it should: {error}") from None
    if not isinstance(found, dict):
        raise Stop(f"DigitalOcean's API at {api} does not answer as it should")
    return found
