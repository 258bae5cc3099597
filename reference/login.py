"""Who may come in: one user, or nobody."""

from __future__ import annotations

import hmac
from collections.abc import Mapping

from flask import Flask, Response, jsonify, request
from prometheus_client import Counter
from werkzeug.exceptions import Unauthorized

from reference.stores.base import value
from reference.validation import field

FAILURES = Counter("login_failures_total", "Logins that were refused")


def add_login_route(app: Flask, environment: Mapping[str, str]) -> None:
    """POST /login, for LOGIN_USER with LOGIN_PASSWORD."""

    @app.post("/login")
    def login() -> Response:
        """Say whether a user's password is right."""
        known = [value(environment, name) for name in ("LOGIN_USER", "LOGIN_PASSWORD")]
        body = request.get_json(silent=True)
        given = [field(body, name) for name in ("user", "password")]
        # All of it is compared, so that the time it takes tells nothing.
        right = [
            hmac.compare_digest(one.encode() if isinstance(one, str) else b"", other.encode())
            for one, other in zip(given, known, strict=True)
        ]
        if not all(right) or not all(known):
            FAILURES.inc()
            raise Unauthorized("the user or the password is wrong")
        return jsonify(user=known[0])
