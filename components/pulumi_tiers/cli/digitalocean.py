"""Questions to DigitalOcean's API that the engine doesn't ask: a cluster's token, the account."""

import json
import os
import re
import time
from http.client import HTTPException
from typing import Any
from urllib.error import HTTPError
from urllib.parse import quote
from urllib.request import HTTPRedirectHandler, Request, build_opener

from pulumi_tiers.cli.console import EXIT_INPUT, EXIT_MISSING, Stop
from pulumi_tiers.model.cloud import CREDENTIAL_VERSION

#: The variables that DigitalOcean's own tools read.
TOKENS = ("DIGITALOCEAN_TOKEN", "DIGITALOCEAN_ACCESS_TOKEN")
_API = "https://api.digitalocean.com"
_SECONDS = 30
#: Seconds before each further try.
_PAUSES = (1, 3)


def credential(cluster: str) -> dict[str, Any]:
    """An ExecCredential for the cluster of that id. Raises Stop where there is none."""
    if not cluster:
        raise Stop("the id of the cluster is empty", EXIT_INPUT)
    path = f"kubernetes/clusters/{quote(cluster, safe='')}/credentials"
    found = _get(path, f"cluster {cluster}")
    status = {"token": found.get("token"), "expirationTimestamp": found.get("expires_at")}
    if not all(isinstance(value, str) and value for value in status.values()):
        raise Stop("DigitalOcean's answer holds no token")
    return {"apiVersion": CREDENTIAL_VERSION, "kind": "ExecCredential", "status": status}


def account() -> str:
    """The state of the token's account: ``active``. Raises Stop where it can't be asked."""
    found = _get("account", "account").get("account")
    return str(found.get("status")) if isinstance(found, dict) else "unknown"


class _NoRedirects(HTTPRedirectHandler):
    """The token goes to the API and nowhere else."""

    def redirect_request(self, *_: object, **__: object) -> None:
        return None


def _get(path: str, what: str) -> dict[str, Any]:
    """What the API answers. Raises Stop with what to do, and never with the token."""
    token = next((os.environ[name].strip() for name in TOKENS if os.environ.get(name)), "")
    if not token:
        raise Stop(f"no token of DigitalOcean: set {TOKENS[0]}", EXIT_MISSING)
    if not (token.isascii() and token.isprintable()):
        raise Stop(f"{TOKENS[0]} holds what is no token: set it again", EXIT_INPUT)
    # The provider's own variable for another address of the API.
    api = (os.environ.get("DIGITALOCEAN_API_URL") or _API).rstrip("/")
    if not re.fullmatch(r"https?://[\w.-]+(:\d{1,5})?(/[\w./-]*)?", api):
        why = "DIGITALOCEAN_API_URL is not the address of an API: write https://host:port"
        raise Stop(why, EXIT_INPUT)
    request = Request(  # noqa: S310 - the schemes were checked
        f"{api}/v2/{path}", headers={"Authorization": f"Bearer {token}"}
    )
    try:
        found = _patiently(request)
    except HTTPError as error:
        told = {
            401: f"DigitalOcean refuses the token in {TOKENS[0]}",
            403: f"the token in {TOKENS[0]} may not read the {what}",
            404: f"the token's account has no {what}",
        }
        why = told.get(error.code, f"DigitalOcean answers {error.code} for the {what}")
        raise Stop(why, EXIT_INPUT if error.code in told else 1) from None
    except OSError as error:
        raise Stop(f"DigitalOcean's API at {api} does not answer: {error}") from None
    except (HTTPException, ValueError, RecursionError) as error:
        why = f"DigitalOcean's API at {api} does not answer as it should: {type(error).__name__}"
        raise Stop(why) from None
    if not isinstance(found, dict):
        raise Stop(f"DigitalOcean's API at {api} does not answer as it should")
    return found


def _patiently(request: Request) -> object:
    """The answer, asked for again where it failed for the moment."""
    opener = build_opener(_NoRedirects())
    for pause in (*_PAUSES, None):
        try:
            with opener.open(request, timeout=_SECONDS) as answer:
                return json.load(answer)
        except OSError as error:
            code = error.code if isinstance(error, HTTPError) else 500
            if pause is None or (code < 500 and code != 429):
                raise
            time.sleep(pause)
    raise AssertionError
