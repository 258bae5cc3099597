#!/usr/bin/env python3
"""One program in the place of servers that no package registry has.

STANDIN, which the image sets, says in whose. It refuses to start where the real one would: a file
that is missing or can't be parsed, a folder that it can't write to, a secret that it needs. Then it
answers on the ports, at the paths and with the health of the real one, as far as our descriptions
use them: a dependency that doesn't answer makes it unhealthy. It does nothing else, and says so.
"""

from __future__ import annotations

import base64
import hmac
import json
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

import yaml

Answer = tuple[int, Any]
#: What asks: its headers.
Question = dict[str, str]
Answering = Callable[[Question], Answer]
NOTICE = "This is a stand-in for {}: it takes its place, and does nothing of what that does."


class RefusalError(Exception):
    """Why it doesn't start, as the real one wouldn't."""


@dataclass
class Site:
    """Where it answers; a text is sent as it is, all else as JSON."""

    port: int
    paths: dict[str, Answering] = field(default_factory=dict)
    address: str = ""
    tls: bool = False
    #: Only takes connections, and sends nothing.
    mute: bool = False


# --- what they need ---------------------------------------------------------------------------


def variable(name: str, default: str | None = None) -> str:
    """NAME, or what is in the file that NAME_FILE or Grafana's NAME__FILE names."""
    for suffix in ("_FILE", "__FILE"):
        if path := os.environ.get(name + suffix):
            if name in os.environ:
                raise RefusalError(f"both {name} and {name}{suffix} are set")
            return text(path).rstrip("\n")
    value = os.environ.get(name, default)
    if not value and default is None:
        raise RefusalError(f"{name} is not set")
    return value or ""


def text(path: str | Path) -> str:
    """What is in a file."""
    try:
        return Path(path).read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise RefusalError(f"{path} can't be read: {error}") from None


def parsed(path: str | Path) -> Any:
    """A file of JSON or YAML."""
    try:
        return (json.loads if str(path).endswith(".json") else yaml.safe_load)(text(path))
    except (ValueError, yaml.YAMLError) as error:
        raise RefusalError(f"{path} can't be parsed: {error}") from None


def filled(value: Any) -> Any:
    """Its ${VARIABLE}s put in, as Elastic's programs do it."""
    if isinstance(value, dict):
        return {key: filled(item) for key, item in value.items()}
    if isinstance(value, list):
        return [filled(item) for item in value]
    if not isinstance(value, str):
        return value
    return re.sub(r"\$\{(\w+)(?::([^}]*))?\}", lambda found: variable(found[1], found[2]), value)


def writable(*folders: str) -> None:
    """Folders that must take a file."""
    for folder in folders:
        probe = Path(folder, ".standin")
        try:
            probe.write_text("")
            probe.unlink()
        except OSError as error:
            raise RefusalError(f"{folder} can't be written to: {error}") from None


def options(arguments: list[str]) -> dict[str, list[str]]:
    """--name=value, --name value, -n value; with `start --all` and the like."""
    found: dict[str, list[str]] = {}
    name = ""
    for argument in arguments:
        if argument.startswith("-"):
            name, equals, value = argument.lstrip("-").partition("=")
            found.setdefault(name, [])
            if equals:
                found[name].append(value)
                name = ""
        elif name:
            found[name].append(argument)
            name = ""
    return found


def one(found: dict[str, list[str]], *names: str, default: str | None = None) -> str:
    """The last value of an option; without a default, it is needed."""
    for name in names:
        if found.get(name):
            return found[name][-1]
    if default is None:
        raise RefusalError(f"the option --{names[0]} is missing")
    return default


def reached(host: str, port: int) -> None:
    """Something must listen there."""
    socket.create_connection((host, port), 3).close()


def healthy(*questions: Callable[[], object], ok: Any = "ok") -> Answering:
    """Its health: 503 with the reason as long as one of the questions fails."""

    def answer(_: Question) -> Answer:
        for question in questions:
            try:
                question()
            except Exception as error:  # whatever its client says
                return 503, f"{type(error).__name__}: {error}"
        return 200, ok

    return answer


def postgres(url: str = "", **parts: Any) -> Callable[[], object]:
    """It writes a row and reads it back."""
    import psycopg2

    def ask() -> None:
        connection = psycopg2.connect(url, connect_timeout=3, **parts)
        try:
            with connection, connection.cursor() as cursor:
                cursor.execute("CREATE TABLE IF NOT EXISTS standin (at timestamptz)")
                cursor.execute("DELETE FROM standin")
                cursor.execute("INSERT INTO standin VALUES (now()) RETURNING at")
        finally:
            connection.close()

    return ask


def elasticsearch(url: str, user: str, password: str) -> Callable[[], object]:
    """It signs in."""
    who = base64.b64encode(f"{user}:{password}".encode()).decode()

    def ask() -> None:
        try:
            urlopen(Request(url, headers={"Authorization": f"Basic {who}"}), timeout=3)  # noqa: S310
        except HTTPError as error:
            raise RefusalError(f"{url} says {error.code} to {user}") from None

    return ask


def signed_in(user: str, password: str, answer: Answering) -> Answering:
    """An answer for this user only."""
    wanted = "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()

    def guarded(question: Question) -> Answer:
        given = question.get("authorization", "")
        right = hmac.compare_digest(given.encode(), wanted.encode())
        return answer(question) if right else (401, {"message": "Unauthorized"})

    return guarded


def metrics(numbers: dict[str, float]) -> Answering:
    """Numbers as Prometheus reads them."""
    lines = "".join(f"# TYPE {name} gauge\n{name} {value}\n" for name, value in numbers.items())
    return lambda _: (200, lines)


# --- whose place they take --------------------------------------------------------------------


def grafana(arguments: list[str]) -> list[Site]:
    """Sources and dashboards are read as Grafana reads them, and one that is broken is refused."""
    del arguments
    data = variable("GF_PATHS_DATA", "/var/lib/grafana")
    writable(data)
    user = variable("GF_SECURITY_ADMIN_USER", "admin")
    password = variable("GF_SECURITY_ADMIN_PASSWORD", "admin")
    variable("GF_SECURITY_SECRET_KEY", "public")
    folder = Path(variable("GF_PATHS_PROVISIONING", "/etc/grafana/provisioning"))
    sources: list[dict[str, Any]] = []
    boards: dict[str, dict[str, Any]] = {}

    def inserted(value: str) -> str:
        value = re.sub(r"\$__file\{([^}]+)\}", lambda found: text(found[1]).strip(), value)
        return re.sub(r"\$(\w+)|\$\{(\w+)\}", lambda f: variable(f[1] or f[2]), value)

    for path in sorted([*folder.glob("datasources/*.yaml"), *folder.glob("datasources/*.yml")]):
        for source in (parsed(path) or {}).get("datasources", []):
            if missing := {"name", "type", "access"} - source.keys():
                raise RefusalError(f"{path}: a source has no {', '.join(sorted(missing))}")
            secure = source.get("secureJsonData", {})
            source["secureJsonData"] = {key: inserted(secret) for key, secret in secure.items()}
            for key in ("url", "basicAuthUser"):
                source[key] = inserted(source.get(key, ""))
            sources.append(source)
    for path in sorted([*folder.glob("dashboards/*.yaml"), *folder.glob("dashboards/*.yml")]):
        for provider in (parsed(path) or {}).get("providers", []):
            place = Path(provider["options"]["path"])
            if not place.is_dir():
                raise RefusalError(f"{path}: {place} is not a folder")
            for file in sorted(place.rglob("*.json")):
                board = parsed(file)
                if not isinstance(board, dict) or not board.get("title"):
                    raise RefusalError(f"{file}: a dashboard needs a title")
                uid = str(board.get("uid") or file.stem)
                if uid in boards:
                    raise RefusalError(f"{file}: another dashboard has the uid {uid}")
                boards[uid] = board
    names = [source["name"] for source in sources]
    if len(set(names)) < len(names) or sum(bool(s.get("isDefault")) for s in sources) > 1:
        raise RefusalError("two sources have one name, or both are the default")
    if home := variable("GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH", ""):
        parsed(home)
    Path(data, "grafana.db").touch()

    def guarded(answer: Any) -> Answering:
        return signed_in(user, password, lambda _: (200, answer))

    def source_health(source: dict[str, Any]) -> Answering:
        url = urlsplit(source["url"])
        ask = (
            elasticsearch(
                source["url"],
                source["basicAuthUser"],
                source["secureJsonData"].get("basicAuthPassword", ""),
            )
            if source.get("basicAuth")
            else lambda: reached(url.hostname or "", url.port or 80)
        )
        return signed_in(user, password, healthy(ask, ok={"status": "OK"}))

    shown = [{"uid": uid, "title": board["title"]} for uid, board in boards.items()]
    public = [{key: s.get(key) for key in ("uid", "name", "type", "url")} for s in sources]
    paths: dict[str, Answering] = {
        "/api/health": lambda _: (200, {"database": "ok", "version": "stand-in"}),
        "/login": lambda _: (200, "sign in"),
        "/metrics": metrics({"grafana_stat_totals_dashboard": len(boards)}),
        "/api/search": guarded(shown),
        "/api/datasources": guarded(public),
    }
    for uid, board in boards.items():
        paths[f"/api/dashboards/uid/{uid}"] = guarded({"dashboard": board})
    for source in sources:
        paths[f"/api/datasources/uid/{source.get('uid')}/health"] = source_health(source)
    print(f"{len(sources)} sources, {len(boards)} dashboards", flush=True)
    return [Site(int(variable("GF_SERVER_HTTP_PORT", "3000")), paths)]


def kibana(arguments: list[str]) -> list[Site]:
    """Healthy as long as Elasticsearch takes its password."""
    home = "/usr/share/kibana"
    settings = filled(parsed(one(options(arguments), "config", "c", default=f"{home}/kibana.yml")))
    writable(f"{home}/data")
    for key, value in settings.items():
        if key.endswith("encryptionKey") and len(value) < 32:
            raise RefusalError(f"{key} has fewer than 32 characters")
    hosts = settings.get("elasticsearch.hosts", ["http://elasticsearch:9200"])
    ask = elasticsearch(
        hosts[0], settings["elasticsearch.username"], settings["elasticsearch.password"]
    )
    status = {"status": {"overall": {"level": "available"}}}
    paths = {"/login": healthy(ask), "/api/status": healthy(ask, ok=status)}
    return [
        Site(settings.get("server.port", 5601), paths, settings.get("server.host", "127.0.0.1"))
    ]


def logstash(arguments: list[str]) -> list[Site]:
    """Its pipeline's braces must match; what is sent to it is thrown away."""
    home = "/usr/share/logstash"
    found = options(arguments)
    folder = one(found, "path.settings", default=f"{home}/config")
    settings = filled(parsed(f"{folder}/logstash.yml")) or {}
    pipeline = text(one(found, "path.config", "f", default=f"{home}/pipeline/logstash.conf"))
    writable(f"{home}/data")
    for name in re.findall(r"\$\{(\w+)\}", pipeline):
        variable(name)
    bare = re.sub(r'"(\\.|[^"\\])*"|#.*|~ /(\\.|[^/\\])*/', "", pipeline)
    sections = set(re.findall(r"^(input|filter|output)\s*\{", pipeline, re.MULTILINE))
    if bare.count("{") != bare.count("}") or not {"input", "output"} <= sections:
        raise RefusalError("the pipeline can't be parsed: its braces, or no input or output")
    ports = [int(port) for port in re.findall(r"beats\s*\{\s*port\s*=>\s*(\d+)", pipeline)]
    api = settings.get("api.http.port", 9600)
    host = settings.get("api.http.host", "127.0.0.1")
    return [
        Site(api, {"/": lambda _: (200, {"status": "green", "version": "stand-in"})}, host),
        *(Site(port, mute=True) for port in ports),
    ]


def filebeat(arguments: list[str]) -> list[Site]:
    """Healthy as long as Logstash takes connections and one log can be read."""
    settings = filled(parsed(one(options(arguments), "c", default="filebeat.yml")))
    writable("/usr/share/filebeat/data")
    host, _, port = settings["output.logstash"]["hosts"][0].rpartition(":")
    patterns = [path for found in settings["filebeat.inputs"] for path in found["paths"]]

    def readable() -> None:
        files = [f for pattern in patterns for f in Path("/").glob(pattern.lstrip("/"))]
        for file in files[:1]:
            with file.open("rb") as content:
                content.read(1)

    http = settings.get("http", {})
    paths = {"/": healthy(readable, lambda: reached(host, int(port)), ok={"beat": "filebeat"})}
    return [Site(http.get("port", 5066), paths, http.get("host", "localhost"))]


def metabase(arguments: list[str]) -> list[Site]:
    """Healthy as long as it can write to its database."""
    del arguments
    writable(variable("MB_PLUGINS_DIR", "/plugins"), "/tmp")  # noqa: S108
    if variable("MB_DB_TYPE", "h2") != "postgres":
        raise RefusalError("this stand-in keeps what it has in Postgres only: MB_DB_TYPE")
    if 0 < len(variable("MB_ENCRYPTION_SECRET_KEY", "")) < 16:
        raise RefusalError("MB_ENCRYPTION_SECRET_KEY must have 16 characters")
    parts = {"host": "HOST", "port": "PORT", "dbname": "DBNAME", "user": "USER", "password": "PASS"}
    ask = postgres(**{key: variable(f"MB_DB_{name}") for key, name in parts.items()})
    ask()
    return [Site(3000, {"/api/health": healthy(ask, ok={"status": "ok"})})]


def glitchtip(arguments: list[str]) -> list[Site]:
    """Its migrations end, its web server and its worker run."""
    import redis

    role = Path(sys.argv[0]).name
    ask = postgres(variable("DATABASE_URL"))
    variable("SECRET_KEY")
    url = variable("VALKEY_URL", os.environ.get("REDIS_URL"))
    broker = redis.Redis.from_url(re.sub("^valkey", "redis", url), socket_timeout=3)
    ask()
    if role == "run-migrate.sh":
        print("migrated", flush=True)
        raise SystemExit
    broker.ping()
    if role == "run-worker.sh":
        return []
    writable("/code/uploads" if "AWS_STORAGE_BUCKET_NAME" not in os.environ else "/tmp")  # noqa: S108
    allowed = variable("ALLOWED_HOSTS", "*").split(",")

    def by_name(question: Question) -> Answer:
        name = question.get("host", "").partition(":")[0]
        return (200, "ok") if {name, "*"} & set(allowed) else (400, "Bad Request (400)")

    return [Site(int(variable("PORT", "8000")), {"/_health/": by_name, "/": by_name})]


def pgadmin(arguments: list[str]) -> list[Site]:
    """The address and the password of its first user, and its list of servers."""
    del arguments
    writable("/var/lib/pgadmin")
    if not re.fullmatch(r"[^@\s]+@[^@\s]+\.[^@\s]+", variable("PGADMIN_DEFAULT_EMAIL")):
        raise RefusalError("PGADMIN_DEFAULT_EMAIL is not a mail address")
    variable("PGADMIN_DEFAULT_PASSWORD")
    Path(variable("PGADMIN_CUSTOM_CONFIG_DISTRO_FILE", "/pgadmin4/config_distro.py")).write_text("")
    if servers := variable("PGADMIN_SERVER_JSON_FILE", ""):
        print(f"{len(parsed(servers)['Servers'])} servers", flush=True)
    port = int(variable("PGADMIN_LISTEN_PORT", "80"))
    return [Site(port, {"/misc/ping": lambda _: (200, "PING")})]


def portainer(arguments: list[str]) -> list[Site]:
    """HTTPS with a certificate of its own, and the daemon's socket."""
    found = options(arguments)
    writable("/data")
    if "admin-password-file" in found and len(text(one(found, "admin-password-file"))) < 12:
        raise RefusalError("the administrator's password has fewer than 12 characters")

    def daemon() -> None:
        with socket.socket(socket.AF_UNIX) as client:
            client.connect("/var/run/docker.sock")

    sites = []
    for option, default, tls in (("bind", ":9000", False), ("bind-https", ":9443", True)):
        host, _, port = one(found, option, default=default).rpartition(":")
        paths = {"/api/system/status": healthy(daemon, ok={"Version": "stand-in"})}
        sites.append(Site(int(port), paths, host, tls))
    return sites


def ngrok(arguments: list[str]) -> list[Site]:
    """Nobody reaches anything through it."""
    settings: dict[str, Any] = {}
    for path in options(arguments).get("config", ["/var/lib/ngrok/ngrok.yml"]):
        for key, value in parsed(path).items():
            merged = isinstance(value, dict) and isinstance(settings.get(key), dict)
            settings[key] = {**settings[key], **value} if merged else value
    agent = settings.get("agent", {})
    if not agent.get("authtoken"):
        raise RefusalError("authentication failed: no authtoken")
    for endpoint in settings.get("endpoints", []):
        if not endpoint.get("upstream", {}).get("url"):
            raise RefusalError(f"the endpoint {endpoint.get('name')} has no upstream")
    host, _, port = str(agent.get("web_addr", "127.0.0.1:4040")).rpartition(":")
    return [Site(int(port), {"/api/status": lambda _: (200, {"status": "online"})}, host)]


def mongodb_exporter(arguments: list[str]) -> list[Site]:
    """Whether MongoDB answers, and few of its numbers."""
    del arguments
    import pymongo

    client: Any = pymongo.MongoClient(variable("MONGODB_URI"), serverSelectionTimeoutMS=3000)

    def numbers(_: Question) -> Answer:
        try:
            client.admin.command("ping")
            uptime = client.admin.command("serverStatus").get("uptime", 0)
        except pymongo.errors.PyMongoError as error:
            print(error, flush=True)
            return metrics({"mongodb_up": 0})({})
        return metrics({"mongodb_up": 1, "mongodb_ss_uptime": uptime})({})

    return [Site(9216, {"/metrics": numbers})]


def mssql_exporter(arguments: list[str]) -> list[Site]:
    """Whether SQL Server answers."""
    del arguments
    import pytds

    def numbers(_: Question) -> Answer:
        try:
            with pytds.connect(
                variable("SERVER"),
                port=int(variable("PORT", "1433")),
                user=variable("USERNAME"),
                password=variable("PASSWORD"),
                login_timeout=3,
                disable_connect_retry=True,
            ):
                return metrics({"mssql_up": 1})({})
        except (pytds.Error, OSError) as error:
            print(error, flush=True)
            return metrics({"mssql_up": 0})({})

    return [Site(4000, {"/metrics": numbers})]


PLACES: dict[str, Callable[[list[str]], list[Site]]] = {
    "Filebeat": filebeat,
    "GlitchTip": glitchtip,
    "Grafana": grafana,
    "Kibana": kibana,
    "Logstash": logstash,
    "Metabase": metabase,
    "Portainer": portainer,
    "ngrok": ngrok,
    "pgAdmin": pgadmin,
    "the exporter for MongoDB": mongodb_exporter,
    "the exporter for SQL Server": mssql_exporter,
}


# --- serving ----------------------------------------------------------------------------------


def serve(site: Site, whose: str) -> None:
    """In the background. The paths' answers are asked for each time."""
    notice = NOTICE.format(whose)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            path = urlsplit(self.path).path
            answer = site.paths.get(path)
            question = {key.lower(): value for key, value in self.headers.items()}
            status, body = answer(question) if answer else (404 if path != "/" else 200, notice)
            content = (body if isinstance(body, str) else json.dumps(body)).encode()
            self.send_response(status)
            kind = "text/plain; charset=utf-8" if isinstance(body, str) else "application/json"
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(content)))
            self.send_header("X-Stand-In", "true")
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(content)

        def do_HEAD(self) -> None:
            self.do_GET()

        def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
            if int(code) >= 400:
                super().log_request(code, size)

    server = ThreadingHTTPServer((site.address, site.port), Handler)
    if site.tls:
        server.socket = certified().wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()


def swallow(site: Site) -> None:
    """Take what is sent, in the background."""

    def take(client: socket.socket) -> None:
        with client:
            while client.recv(65536):
                pass

    def accept(server: socket.socket) -> None:
        while True:
            threading.Thread(target=take, args=(server.accept()[0],), daemon=True).start()

    server = socket.create_server((site.address, site.port))
    threading.Thread(target=accept, args=(server,), daemon=True).start()


def certified() -> ssl.SSLContext:
    """A certificate of its own, made now."""
    files = ("-keyout", "/tmp/standin.key", "-out", "/tmp/standin.crt")  # noqa: S108
    make = ("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "30")
    subprocess.run([*make, "-subj", "/CN=stand-in", *files], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files[3], files[1])
    return context


def main() -> int:
    """The exit code."""
    whose = os.environ["STANDIN"]
    print(NOTICE.format(whose), flush=True)
    # The first process of a container ends on no signal that it doesn't expect.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    signal.signal(signal.SIGINT, lambda *_: sys.exit(0))
    try:
        for site in PLACES[whose](sys.argv[1:]):
            (swallow if site.mute else serve)(site, *(() if site.mute else (whose,)))
    except (RefusalError, OSError, KeyError, URLError) as error:
        print(f"error: {error if isinstance(error, RefusalError) else repr(error)}", flush=True)
        return 1
    while True:
        signal.pause()


if __name__ == "__main__":
    sys.exit(main())
