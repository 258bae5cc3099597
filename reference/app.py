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
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import asdict, dataclass

from flask import Flask, Response, g, jsonify, render_template_string, request
from prometheus_client import (
    CONTENT_TYPE_LATEST,
    REGISTRY,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
)
from prometheus_client.multiprocess import MultiProcessCollector
from werkzeug.exceptions import (
    HTTPException,
    LengthRequired,
    RequestEntityTooLarge,
    ServiceUnavailable,
)

from reference import stores as known
from reference.celery_queue import CeleryQueue, Queue, broker
from reference.documents import add_document_routes
from reference.jobs import add_job_routes
from reference.log import configure_logging
from reference.stores import Database, Store, StoreError
from reference.uploads import add_upload_routes
from reference.validation import valid_limit, valid_text

TITLE_LENGTH = 200
LIMIT_DEFAULT, LIMIT_MAX = 20, 100
BODY_BYTES = 16 * 1024
UPLOAD_BYTES = 16 * 1024**2
# Less than the ten seconds that the documented health checks wait.
CHECK_SECONDS = 8

logger = logging.getLogger("reference")

# Named as prometheus_flask_exporter, which the documents use, names them. An Info metric cannot
# be shared by processes, so app_info is a gauge that is always 1.
APP_INFO = Gauge(
    "app_info", "The application", ["service", "version", "title"], multiprocess_mode="max"
)
REQUESTS = Counter("flask_http_request_total", "Requests answered", ["method", "status"])
DURATION = Histogram(
    "flask_http_request_duration_seconds", "Time to answer", ["method", "path", "status"]
)

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


@dataclass(frozen=True)
class Dependency:
    """What /health says of one store."""

    engine: str
    ok: bool
    error: str | None
    milliseconds: float


def check(store: Store) -> Dependency:
    """Use one store."""
    started = time.perf_counter()
    error = None
    try:
        store.check()
    except StoreError as failure:
        error = str(failure)
    milliseconds = round((time.perf_counter() - started) * 1000, 1)
    return Dependency(store.engine, error is None, error, milliseconds)


def check_all(stores: Mapping[str, Store]) -> dict[str, Dependency]:
    """All at once: several that are down must not outlast the caller's own timeout."""
    pool = ThreadPoolExecutor(max_workers=len(stores) or 1)
    checks = {name: pool.submit(check, store) for name, store in stores.items()}
    done = wait(checks.values(), CHECK_SECONDS).done
    pool.shutdown(wait=False)
    late = f"no answer within {CHECK_SECONDS} seconds"
    states = {
        name: future.result()
        if future in done
        else Dependency(stores[name].engine, ok=False, error=late, milliseconds=CHECK_SECONDS * 1e3)
        for name, future in checks.items()
    }
    for name, state in states.items():
        if not state.ok:
            logger.warning("%s (%s) fails: %s", name, state.engine, state.error)
    return states


def size_limit(environment: Mapping[str, str]) -> int:
    """UPLOAD_LIMIT: bytes that an upload through the application may have."""
    text = environment.get("UPLOAD_LIMIT") or str(UPLOAD_BYTES)
    if not text.isdecimal():
        raise StoreError(f"UPLOAD_LIMIT is {text!r}, not a number of bytes")
    return int(text)


def create_app(
    environment: Mapping[str, str], stores: Mapping[str, Store], queue: Queue | None = None
) -> Flask:
    """The application; the stores go by the names of the variables they come from."""
    title = environment.get("APP_TITLE", "Reference workload")
    service = environment.get("SERVICE_NAME", "reference")
    version = environment.get("SERVICE_VERSION", "0")
    host = socket.gethostname()
    upload_limit = size_limit(environment)
    database, objects = known.database(stores), known.objects(stores)
    APP_INFO.labels(service, version, title).set(1)

    app = Flask(__name__, static_folder=None)

    def events() -> Database:
        if database is None:
            raise ServiceUnavailable("no store for events is configured")
        return database

    @app.get("/")
    @app.get("/ui")
    def page() -> tuple[str, int]:
        """Show what works, and the newest events."""
        dependencies = check_all(stores)
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
    @app.get("/api/health")
    def health() -> tuple[Response, int]:
        """Use every dependency and say which of them work."""
        dependencies = check_all(stores)
        ok = all(state.ok for state in dependencies.values())
        body = {
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
    def metrics() -> Response:
        """Show the metrics of all processes."""
        registry = REGISTRY
        if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
            registry = CollectorRegistry()
            MultiProcessCollector(registry)
        return Response(generate_latest(registry), content_type=CONTENT_TYPE_LATEST)

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

    add_job_routes(app, database, queue)
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
        REQUESTS.labels(method, status).inc()
        DURATION.labels(method, path, status).observe(seconds)
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
    redis = broker(stores)
    return create_app(os.environ, stores, CeleryQueue(os.environ, redis) if redis else None)
