"""The reference workload: plays any documented application and proves that it is wired right.

It takes the documented environment, truly uses every store that the environment names, and says
on /health which of them work.
"""

from __future__ import annotations

import logging
import os
import socket
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from flask import Flask, Response, g, jsonify, render_template_string, request
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from werkzeug.exceptions import (
    HTTPException,
    LengthRequired,
    RequestEntityTooLarge,
    ServiceUnavailable,
)
from werkzeug.middleware.dispatcher import DispatcherMiddleware

from reference import metrics
from reference import stores as known
from reference.classifier import ModelFolder, add_classifier_routes
from reference.documents import add_document_routes
from reference.health import Health
from reference.jobs import add_job_routes
from reference.log import configure_logging
from reference.login import add_login_route
from reference.queues import Queue, broker, queue
from reference.stores import Database, Store, StoreError
from reference.uploads import add_upload_routes
from reference.validation import valid_limit, valid_text

TITLE_LENGTH = 200
LIMIT_DEFAULT, LIMIT_MAX = 20, 100
BODY_BYTES = 16 * 1024
UPLOAD_BYTES = 16 * 1024**2
logger = logging.getLogger("reference")

PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>{{ title }}</title>
<h1>{{ title }}</h1>
<p>{{ service }} {{ version }}</p>
<h2>Dependencies</h2>
<ul>
{%- for name, state in dependencies.items() %}
<li>{{ name }} ({{ state.engine }}): {{ "ok" if state.ok else state.error }}</li>
{%- else %}
<li>none</li>
{%- endfor %}
</ul>
<h2>Events</h2>
<ul>
{%- for event in events %}
<li>{{ event.title }} <time>{{ event.created_at.isoformat() }}</time></li>
{%- else %}
<li>none</li>
{%- endfor %}
</ul>
</html>
"""


def size_limit(environment: Mapping[str, str]) -> int:
    """UPLOAD_LIMIT: bytes that an upload through the application may have."""
    text = environment.get("UPLOAD_LIMIT") or str(UPLOAD_BYTES)
    if not text.isdecimal():
        raise StoreError(f"UPLOAD_LIMIT is {text!r}, not a number of bytes")
    return int(text)


def create_app(
    environment: Mapping[str, str], stores: Mapping[str, Store], jobs: Queue | None = None
) -> Flask:
    """The application; the stores go by the names of the variables they come from."""
    title = environment.get("APP_TITLE", "Reference workload")
    service = environment.get("SERVICE_NAME", "reference")
    version = environment.get("SERVICE_VERSION", "0")
    host = socket.gethostname()
    upload_limit = size_limit(environment)
    database, objects = known.database(stores), known.objects(stores)
    health_of = Health(stores)
    folder = environment.get("MODEL_PATH")
    required = environment.get("MODEL_REQUIRED", "").lower() in {"1", "true", "yes"}
    models = ModelFolder(Path(folder), required=required) if folder else None
    measured = metrics.Measured(health_of, broker(stores), *([models] if models else []))
    metrics.APP_INFO.labels(service, version, title).set(1)

    app = Flask(__name__, static_folder=None)
    # OColecionador's edge passes /api on as it is, Vision's takes it away.
    # pyrefly: ignore[method-assign] - it is meant to be wrapped so
    app.wsgi_app = DispatcherMiddleware(app.wsgi_app, {"/api": app.wsgi_app})

    def events() -> Database:
        if database is None:
            raise ServiceUnavailable("no store for events is configured")
        return database

    @app.get("/")
    @app.get("/ui")
    def page() -> tuple[str, int]:
        """Show what works, and the newest events."""
        dependencies = health_of.check()
        ok = all(state.ok for state in dependencies.values())
        html = render_template_string(
            PAGE,
            title=title,
            service=service,
            version=version,
            dependencies=dependencies,
            events=database.newest(LIMIT_DEFAULT) if ok and database else [],
        )
        return html, 200 if ok else 503

    @app.get("/health")
    @app.get("/classifier/health")
    def health() -> tuple[Response, int]:
        """Use every dependency and say which of them work."""
        dependencies = health_of.check()
        ok = all(state.ok for state in dependencies.values())
        body: dict[str, object] = {}
        if models:
            ok = ok and models.fit()
            state = models.state()
            body["model"] = asdict(state) if state else None
        body |= {
            "status": "ok" if ok else "failing",
            "service": service,
            "version": version,
            "served_by": host,
            "dependencies": {name: asdict(state) for name, state in dependencies.items()},
        }
        return jsonify(body), 200 if ok else 503

    @app.get("/headers")
    def headers() -> Response:
        """Show the request as it arrives here, without credentials."""
        hidden = {"authorization", "cookie", "proxy-authorization"}
        shown = {name: text for name, text in request.headers.items() if name.lower() not in hidden}
        return jsonify(
            headers=shown,
            remote_address=request.remote_addr,
            scheme=request.scheme,
            served_by=host,
        )

    @app.get("/metrics")
    def show_metrics() -> Response:
        """Show the metrics of all processes."""
        shown = generate_latest(measured.registry())
        return Response(shown, content_type=CONTENT_TYPE_LATEST)

    @app.get("/events")
    def list_events() -> Response:
        """Show the newest events first."""
        limit = valid_limit(request.args.get("limit", str(LIMIT_DEFAULT)), LIMIT_MAX)
        return jsonify([event.as_json() for event in events().newest(limit)])

    @app.post("/events")
    def add_event() -> tuple[Response, int]:
        """Keep an event."""
        title = valid_text(request.get_json(silent=True), "title", TITLE_LENGTH)
        event = events().add(title)
        return jsonify(event.as_json()), 201

    add_job_routes(app, database, jobs, objects)
    add_login_route(app, environment)
    if models:
        add_classifier_routes(app, models)
    add_upload_routes(app, environment, objects)
    add_document_routes(app, title, version)

    @app.before_request
    def start_clock() -> None:
        g.started = time.perf_counter()

    @app.before_request
    def limit_body() -> None:
        # Flask's own limit is not the same thing in all of its versions.
        if "Transfer-Encoding" in request.headers:
            raise LengthRequired("send the body's Content-Length")
        limit = upload_limit if request.endpoint == "upload" else BODY_BYTES
        if (request.content_length or 0) > limit:
            raise RequestEntityTooLarge(f"a body may have {limit} bytes here")

    @app.after_request
    def observe(response: Response) -> Response:
        seconds = time.perf_counter() - g.started
        status = str(response.status_code)
        # Only our own routes: anybody can invent paths and methods without end.
        method = request.method if request.url_rule else "other"
        path = request.url_rule.rule if request.url_rule else "other"
        metrics.REQUESTS.labels(method, path, status).inc()
        metrics.DURATION.labels(method, path).observe(seconds)
        metrics.FLASK_REQUESTS.labels(method, status).inc()
        metrics.FLASK_DURATION.labels(method, path, status).observe(seconds)
        logger.info("%s %s %s %.1f ms", method, path, status, seconds * 1000)
        response.headers["X-Served-By"] = host
        return response

    @app.errorhandler(HTTPException)
    def http_error(error: HTTPException) -> tuple[Response, int]:
        return jsonify(error=error.description), error.code or 500

    @app.errorhandler(StoreError)
    def store_error(error: StoreError) -> tuple[Response, int]:
        logger.warning("a store fails: %s", error)
        return jsonify(error=str(error)), 503

    return app


def application() -> Flask:
    """What gunicorn runs."""
    configure_logging(os.environ)
    stores = known.discover(os.environ)
    for name, store in stores.items():
        logger.info("%s is a %s store", name, store.engine)
    return create_app(os.environ, stores, queue(os.environ, broker(stores)))
