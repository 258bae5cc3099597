"""`tiers credential`: a token for a cluster on DigitalOcean, as kubectl's plugins print it."""

import json
import os
from typing import Any
from urllib.error import HTTPError
from urllib.parse import quote
from urllib.request import Request, urlopen

from pulumi_tiers.cli.console import EXIT_INPUT, EXIT_MISSING, Stop
from pulumi_tiers.model.cloud import CREDENTIAL_VERSION

#: The variables that DigitalOcean's own tools read.
_TOKENS = ("DIGITALOCEAN_TOKEN", "DIGITALOCEAN_ACCESS_TOKEN")
_API = "https://api.digitalocean.com"
_SECONDS = 30


def credential(cluster: str) -> dict[str, Any]:
    """An ExecCredential for the cluster of that id. Raises Stop where there is none."""
    token = next((os.environ[name] for name in _TOKENS if os.environ.get(name)), "")
    if not token:
        raise Stop(f"no token of DigitalOcean: set {_TOKENS[0]}", EXIT_MISSING)
    # The provider's own variable for another address of the API.
    api = os.environ.get("DIGITALOCEAN_API_URL") or _API
    if not api.startswith(("https://", "http://")):
        raise Stop(f"DIGITALOCEAN_API_URL is not the address of an API: {api}", EXIT_INPUT)
    request = Request(  # noqa: S310 - the schemes were checked
        f"{api.rstrip('/')}/v2/kubernetes/clusters/{quote(cluster, safe='')}/credentials",
        headers={"Authorization": f"Bearer {token}"},
    )
    try:
        with urlopen(request, timeout=_SECONDS) as answer:  # noqa: S310
            found = json.load(answer)
        status = {"token": found["token"], "expirationTimestamp": found["expires_at"]}
    except HTTPError as error:
        told = {
            401: f"DigitalOcean refuses the token in {_TOKENS[0]}",
            403: f"the token in {_TOKENS[0]} may not read the cluster {cluster}",
            404: f"there is no cluster {cluster} in the account of this token",
        }
        why = told.get(error.code, f"DigitalOcean answers {error.code} for the cluster {cluster}")
        raise Stop(why, EXIT_INPUT if error.code in told else 1) from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise Stop(f"DigitalOcean's API at {api} does not answer as it should: {error}") from None
    return {"apiVersion": CREDENTIAL_VERSION, "kind": "ExecCredential", "status": status}
