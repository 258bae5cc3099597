"""The reference workload: plays any documented application and proves that it is wired right.

It takes the documented environment, truly uses every store that the environment names, and says
on /health which of them work.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import cast

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
from werkzeug.exceptions import BadRequest, HTTPException, ServiceUnavailable

from reference.stores import EventStore, Store, StoreError, discover

TITLE_LENGTH = 200
LIMIT_DEFAULT, LIMIT_MAX = 20, 100
COLOURS = {
    logging.DEBUG: "\033[36m",
    logging.INFO: "\033[32m",
    logging.WARNING: "\033[33m",
    logging.ERROR: "\033[31m",
    logging.CRITICAL: "\033[31m",
}

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
    with ThreadPoolExecutor(max_workers=len(stores) or 1) as pool:
        states = dict(zip(stores, pool.map(check, stores.values()), strict=True))
    for name, state in states.items():
        if not state.ok:
            logger.warning("%s (%s) fails: %s", name, state.engine, state.error)
    return states


def valid_title(body: object) -> str:
    """The title in a request's JSON body."""
    title = cast("dict[str, object]", body).get("title") if isinstance(body, dict) else None
    if not isinstance(title, str) or not 1 <= len(title.strip()) <= TITLE_LENGTH:
        raise BadRequest(f'expected JSON: {{"title": 1 to {TITLE_LENGTH} characters}}')
    if not title.strip().isprintable():
        raise BadRequest("the title has characters that cannot be printed")
    return title.strip()


def valid_limit(text: str) -> int:
    """How many events a request asks for."""
    if not text.isdecimal() or not 1 <= int(text) <= LIMIT_MAX:
        raise BadRequest(f"limit is a number from 1 to {LIMIT_MAX}")
    return int(text)


def create_app(environment: Mapping[str, str], stores: Mapping[str, Store]) -> Flask:
    """The application; the stores go by the names of the variables they come from."""
    title = environment.get("APP_TITLE", "Reference workload")
    service = environment.get("SERVICE_NAME", "reference")
    version = environment.get("SERVICE_VERSION", "0")
    APP_INFO.labels(service, version, title).set(1)

    app = Flask(__name__, static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = 16 * 1024

    def event_store() -> EventStore:
        for store in stores.values():
            if isinstance(store, EventStore):
                return store
        raise ServiceUnavailable("no store for events is configured")

    @app.get("/")
    def page() -> tuple[str, int]:
        dependencies = check_all(stores)
        ok = all(state.ok for state in dependencies.values())
        html = render_template_string(
            PAGE,
            title=title,
            service=service,
            version=version,
            dependencies=dependencies,
            events=event_store().newest(LIMIT_DEFAULT) if ok and stores else [],
        )
        return html, 200 if ok else 503

    @app.get("/health")
    @app.get("/api/health")
    def health() -> tuple[Response, int]:
        dependencies = check_all(stores)
        ok = all(state.ok for state in dependencies.values())
        body = {
            "status": "ok" if ok else "failing",
            "service": service,
            "version": version,
            "dependencies": {name: asdict(state) for name, state in dependencies.items()},
        }
        return jsonify(body), 200 if ok else 503

    @app.get("/metrics")
    def metrics() -> Response:
        registry = REGISTRY
        if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
            registry = CollectorRegistry()
            MultiProcessCollector(registry)
        return Response(generate_latest(registry), content_type=CONTENT_TYPE_LATEST)

    @app.get("/events")
    def list_events() -> Response:
        limit = valid_limit(request.args.get("limit", str(LIMIT_DEFAULT)))
        return jsonify([event.as_json() for event in event_store().newest(limit)])

    @app.post("/events")
    def add_event() -> tuple[Response, int]:
        event = event_store().add(valid_title(request.get_json(silent=True)))
        return jsonify(event.as_json()), 201

    @app.before_request
    def start_clock() -> None:
        g.started = time.perf_counter()

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
        return response

    @app.errorhandler(HTTPException)
    def http_error(error: HTTPException) -> tuple[Response, int]:
        return jsonify(error=error.description), error.code or 500

    @app.errorhandler(StoreError)
    def store_error(error: StoreError) -> tuple[Response, int]:
        logger.warning("a store fails: %s", error)
        return jsonify(error=str(error)), 503

    return app


class ColouredFormatter(logging.Formatter):
    """Lines in their level's colour."""

    def format(self, record: logging.LogRecord) -> str:
        """The line between the codes for the colour and for none."""
        return f"{COLOURS.get(record.levelno, '')}{super().format(record)}\033[0m"


def configure_logging(environment: Mapping[str, str]) -> None:
    """LOG_LEVEL; without it DEBUG=true means debug, as in the documented settings."""
    debug = environment.get("DEBUG", "").lower() in {"1", "true", "yes"}
    wanted = environment.get("LOG_LEVEL", "DEBUG" if debug else "INFO").upper()
    level = logging.getLevelNamesMapping().get(wanted)
    coloured = environment.get("LOG_FORMAT") == "colored"
    formatter = ColouredFormatter if coloured else logging.Formatter
    handler = logging.StreamHandler()
    handler.setFormatter(formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=level or logging.INFO, handlers=[handler], force=True)
    if level is None:
        logger.warning("LOG_LEVEL %s is unknown; using INFO", wanted)


def application() -> Flask:
    """What gunicorn runs."""
    configure_logging(os.environ)
    stores = discover(os.environ)
    for name, store in stores.items():
        logger.info("%s is a %s store", name, store.engine)
    return create_app(os.environ, stores)
