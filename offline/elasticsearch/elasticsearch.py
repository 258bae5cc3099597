#!/usr/bin/env python3
"""In the place of Elasticsearch: its HTTP interface, users and roles, documents by their ids.

It keeps all in one file of SQLite in path.data. What it doesn't know is answered with an error, not
with a guess.
"""

from __future__ import annotations

import base64
import fnmatch
import hashlib
import hmac
import json
import os
import re
import signal
import sqlite3
import sys
import threading
import time
import uuid
from collections.abc import Iterable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import yaml

NOTICE = "This is a stand-in for Elasticsearch: it keeps documents by their ids in SQLite."
HOME = Path("/usr/share/elasticsearch")
CONFIG = Path(os.environ.get("ES_PATH_CONF", HOME / "config"))
KEYSTORE = CONFIG / "elasticsearch.keystore"
#: What it keeps under a name, and what it is called in the address.
NAMED = ("_ilm/policy", "_index_template", "_security/role", "_snapshot")
RESERVED = ("elastic", "kibana_system")


class ApiError(Exception):
    """An error with Elasticsearch's status and type."""

    def __init__(self, status: int, kind: str, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.kind = kind


def keystore(arguments: list[str]) -> int:
    """The program elasticsearch-keystore: create, and add --stdin NAME."""
    if arguments == ["create"]:
        KEYSTORE.write_text("{}")
        KEYSTORE.chmod(0o660)
    elif arguments[:1] == ["add"] and "--stdin" in arguments:
        kept = json.loads(KEYSTORE.read_text())
        KEYSTORE.write_text(json.dumps({**kept, arguments[-1]: sys.stdin.readline().rstrip("\n")}))
    else:
        print("this stand-in knows `create` and `add --stdin NAME`", file=sys.stderr)
        return 64
    return 0


def hashed(password: str, salt: bytes) -> str:
    """What is kept of a password."""
    return hashlib.scrypt(password.encode(), salt=salt, n=2**12, r=8, p=1).hex()


class Node:
    """Its settings, its users and its documents."""

    def __init__(self) -> None:
        self.settings: dict[str, Any] = (
            yaml.safe_load((CONFIG / "elasticsearch.yml").read_text()) or {}
        )
        if str(self.setting("xpack.security.enabled", "true")).lower() != "true":
            sys.exit("error: this stand-in always asks for passwords: xpack.security.enabled")
        local = self.setting("network.host", "_local_") in ("_local_", "localhost", "127.0.0.1")
        if not local and self.setting("discovery.type", "multi-node") != "single-node":
            print("the default discovery settings are unsuitable for production use", flush=True)
            sys.exit(78)
        secrets = json.loads(KEYSTORE.read_text()) if KEYSTORE.exists() else {}
        self.first = secrets.get("bootstrap.password") or os.environ.get("ELASTIC_PASSWORD", "")
        data = Path(self.setting("path.data", str(HOME / "data")))
        data.mkdir(exist_ok=True)
        self.rows = sqlite3.connect(
            data / "standin.db", check_same_thread=False, isolation_level=None
        )
        self.rows.execute("PRAGMA journal_mode = WAL")
        self.rows.execute(
            "CREATE TABLE IF NOT EXISTS named (kind, name, body, PRIMARY KEY (kind, name))"
        )
        self.rows.execute(
            "CREATE TABLE IF NOT EXISTS documents (place, id, body, PRIMARY KEY (place, id))"
        )
        self.lock = threading.RLock()
        self.seen: dict[str, str] = {}

    def setting(self, name: str, default: str) -> str:
        """A setting, written with dots."""
        return str(self.settings.get(name, default))

    # --- names -----------------------------------------------------------------------------------

    def get(self, kind: str, name: str) -> Any:
        """What is kept under a name; None if nothing is."""
        found = self.rows.execute(
            "SELECT body FROM named WHERE kind = ? AND name = ?", [kind, name]
        )
        row = found.fetchone()
        return json.loads(row[0]) if row else None

    def put(self, kind: str, name: str, body: object) -> None:
        """Keep it."""
        self.rows.execute("REPLACE INTO named VALUES (?, ?, ?)", [kind, name, json.dumps(body)])

    def remove(self, kind: str, name: str) -> None:
        """Keep it no longer."""
        self.rows.execute("DELETE FROM named WHERE kind = ? AND name = ?", [kind, name])

    def indices(self, patterns: str = "*") -> list[str]:
        """Whose names fit one of the patterns."""
        names = [row[0] for row in self.rows.execute("SELECT name FROM named WHERE kind = 'index'")]
        wanted = patterns.split(",")
        return sorted(n for n in names if any(fnmatch.fnmatch(n, pattern) for pattern in wanted))

    # --- who may what ----------------------------------------------------------------------------

    def signed_in(self, header: str) -> str:
        """The user of a request."""
        with_password = header.removeprefix("Basic ")
        if with_password in self.seen:
            return self.seen[with_password]
        try:
            user, _, password = base64.b64decode(with_password).decode().partition(":")
        except ValueError:
            user = password = ""
        kept = self.get("user", user)
        if kept:
            right = hmac.compare_digest(hashed(password, bytes.fromhex(kept["salt"])), kept["hash"])
        else:
            right = (
                user == "elastic"
                and bool(password)
                and hmac.compare_digest(password.encode(), self.first.encode())
            )
        if not right:
            raise ApiError(401, "security_exception", f"unable to authenticate user [{user}]")
        self.seen[with_password] = user
        return user

    def may(self, user: str, index: str | None, *, change: bool) -> None:
        """elastic may all; Kibana its own; others what is in their roles."""
        if user == "elastic":
            return
        own = [".kibana*"] if user == "kibana_system" else []
        cluster = user == "kibana_system"
        for role in (self.get("user", user) or {}).get("roles", []):
            rights = self.get("_security/role", role) or {}
            cluster = cluster or bool({"monitor", "all", "manage"} & set(rights.get("cluster", [])))
            for right in rights.get("indices", []):
                own += right["names"] if {"all", "write"} & set(right["privileges"]) else []
        if index is None:
            fine = cluster and not change
        else:
            fine = all(
                any(fnmatch.fnmatch(part, name) for name in own) for part in index.split(",")
            )
        if not fine:
            about = f"indices [{index}]" if index else "the cluster"
            raise ApiError(403, "security_exception", f"unauthorized for user [{user}] on {about}")

    def set_password(self, user: str, body: dict[str, Any]) -> None:
        """A user, or another password for one."""
        password = body.get("password", "")
        if len(password) < 6:
            raise ApiError(
                400, "validation_exception", "passwords must be at least [6] characters long"
            )
        salt = os.urandom(16)
        kept = self.get("user", user) or {"roles": []}
        kept |= {"salt": salt.hex(), "hash": hashed(password, salt)}
        self.put("user", user, {**kept, "roles": body.get("roles", kept["roles"])})
        self.seen.clear()

    # --- requests --------------------------------------------------------------------------------

    def answer(
        self, method: str, path: str, query: dict[str, list[str]], text: str, header: str
    ) -> Any:
        """What is told, or an ApiError."""
        user = self.signed_in(header)
        parts = [unquote(part) for part in path.strip("/").split("/") if part]
        change = method not in ("GET", "HEAD")
        bulk = parts[-1:] == ["_bulk"]
        body = {} if bulk or not text.strip() else json.loads(text)
        kind = next((kind for kind in NAMED if path.strip("/").startswith(f"{kind}/")), "")
        if bulk:
            return self.bulk(user, parts[0] if len(parts) == 2 else "", text)
        if parts[:1] == ["_security"] and not kind:
            return self.security(user, method, parts[1:], body)
        if parts[:1] == ["_snapshot"] and len(parts) > 2:
            self.may(user, None, change=True)
            return self.snapshot(method, parts[1], parts[2:], body)
        if kind:
            self.may(user, None, change=change)
            return self.named(method, kind, parts[-1], body)
        if not parts or parts[0].startswith("_"):
            names = parts[2] if parts[:2] == ["_cat", "indices"] and len(parts) > 2 else None
            self.may(user, names, change=change)
            return self.told(parts, query)
        self.may(user, parts[0], change=change)
        return self.documents(method, parts[0], parts[1:], body)

    def security(self, user: str, method: str, parts: list[str], body: dict[str, Any]) -> Any:
        """Users and their passwords."""
        match parts:
            case ["_authenticate"]:
                return {"username": user, "roles": (self.get("user", user) or {}).get("roles", [])}
            case ["user", name, *rest] if method in ("PUT", "POST") and rest in ([], ["_password"]):
                self.may(user, None, change=True)
                if rest and name not in RESERVED and self.get("user", name) is None:
                    raise ApiError(404, "resource_not_found_exception", f"no user [{name}]")
                self.set_password(name, body)
                return {"created": True}
            case ["user", name] if method == "DELETE":
                self.may(user, None, change=True)
                self.remove("user", name)
                self.seen.clear()
                return {"found": True}
        raise unknown(method, "/".join(["_security", *parts]))

    def named(self, method: str, kind: str, name: str, body: dict[str, Any]) -> Any:
        """Policies, templates, roles, repositories."""
        if method in ("PUT", "POST"):
            if kind == "_snapshot":
                self.repository(body)
            self.put(kind, name, body)
            return {"acknowledged": True}
        kept = self.get(kind, name)
        if kept is None:
            raise ApiError(404, "resource_not_found_exception", f"no {kind} [{name}]")
        if method == "DELETE":
            self.remove(kind, name)
            return {"acknowledged": True}
        return {name: kept}

    def repository(self, body: dict[str, Any]) -> Path:
        """The folder of copies."""
        root = Path(self.setting("path.repo", ""))
        place = root / body.get("settings", {}).get("location", "")
        if body.get("type") != "fs" or not self.setting("path.repo", ""):
            raise ApiError(500, "repository_exception", "it is no folder in path.repo")
        place.mkdir(parents=True, exist_ok=True)
        return place

    def snapshot(self, method: str, repository: str, parts: list[str], body: dict[str, Any]) -> Any:
        """Copies of indices, and bringing them back."""
        kept = self.get("_snapshot", repository)
        if kept is None:
            raise ApiError(404, "repository_missing_exception", f"[{repository}] missing")
        file = self.repository(kept) / f"{parts[0]}.json"
        counts = {"total": 1, "failed": 0, "successful": 1}
        if method == "PUT" and len(parts) == 1:
            names = self.indices(body.get("indices", "*"))
            copied = {name: [self.get("index", name), self.all(name)] for name in names}
            file.write_text(json.dumps(copied))
            return {"snapshot": {"state": "SUCCESS", "indices": names, "shards": counts}}
        if method == "POST" and parts[1:] == ["_restore"]:
            copied = json.loads(file.read_text())
            for name, (about, documents) in copied.items():
                if name in self.indices() and not (self.get("index", name) or {}).get("closed"):
                    raise ApiError(500, "snapshot_restore_exception", f"index [{name}] is open")
                self.put("index", name, about)
                self.rows.execute("DELETE FROM documents WHERE place = ?", [name])
                for document_id, document in documents:
                    self.write(name, document_id, document)
            return {"snapshot": {"indices": list(copied), "shards": counts}}
        raise unknown(method, "_snapshot")

    def told(self, parts: list[str], query: dict[str, list[str]]) -> Any:
        """About itself."""
        count = self.rows.execute("SELECT count(*) FROM documents").fetchone()[0]
        name = self.setting("node.name", "stand-in")
        match parts:
            case []:
                version = {"number": "8.8.0", "build_flavor": "stand-in", "lucene_version": "9.6.0"}
                about = {"cluster_uuid": "stand-in", "tagline": NOTICE, "version": version}
                return {
                    "name": name,
                    "cluster_name": self.setting("cluster.name", "elasticsearch"),
                    **about,
                }
            case ["_cluster", "health", *_]:
                shards = ("active_primary_shards", "active_shards")
                none = ("relocating_shards", "initializing_shards", "unassigned_shards")
                none += ("delayed_unassigned_shards", "number_of_pending_tasks")
                return {
                    "cluster_name": self.setting("cluster.name", "elasticsearch"),
                    "status": "green",
                    "timed_out": False,
                    "number_of_nodes": 1,
                    "number_of_data_nodes": 1,
                    **dict.fromkeys(shards, len(self.indices())),
                    **dict.fromkeys(none, 0),
                    "active_shards_percent_as_number": 100.0,
                }
            case ["_nodes", *_]:
                disk = os.statvfs(self.setting("path.data", str(HOME / "data")))
                size, free = disk.f_blocks * disk.f_frsize, disk.f_bavail * disk.f_frsize
                room = {
                    "path": "data",
                    "total_in_bytes": size,
                    "free_in_bytes": free,
                    "available_in_bytes": free,
                }
                memory = {
                    "heap_used_in_bytes": 2**26,
                    "heap_max_in_bytes": 2**29,
                    "heap_committed_in_bytes": 2**29,
                }
                indices = {
                    "docs": {"count": count, "deleted": 0},
                    "store": {"size_in_bytes": count * 100},
                    "indexing": {"index_total": count},
                    "search": {"query_total": 0},
                }
                node = {"name": name, "host": name, "roles": ["master", "data"], "indices": indices}
                node |= {"jvm": {"mem": memory}, "fs": {"total": room, "data": [room]}}
                return {
                    "cluster_name": self.setting("cluster.name", "elasticsearch"),
                    "nodes": {"stand-in": node},
                }
            case ["_cat", "indices", *rest]:
                wanted = query.get("expand_wildcards", ["all"])[0]
                names = self.indices(rest[0] if rest else "*")
                opened = [
                    n
                    for n in names
                    if wanted != "open" or not (self.get("index", n) or {}).get("closed")
                ]
                return "".join(f"{found}\n" for found in opened)
        raise unknown("GET", "/".join(parts))

    def all(self, index: str) -> list[tuple[str, Any]]:
        """The documents of an index."""
        found = self.rows.execute(
            "SELECT id, body FROM documents WHERE place = ? ORDER BY rowid", [index]
        )
        return [(row[0], json.loads(row[1])) for row in found]

    def write(self, index: str, document_id: str, document: object) -> bool:
        """Whether it is new. An index comes into being with its first document."""
        if index not in self.indices():
            self.put("index", index, {})
        place = [index, document_id]
        found = self.rows.execute(
            "SELECT 1 FROM documents WHERE place = ? AND id = ?", place
        ).fetchone()
        self.rows.execute("REPLACE INTO documents VALUES (?, ?, ?)", [*place, json.dumps(document)])
        return found is None

    def documents(self, method: str, index: str, parts: list[str], body: dict[str, Any]) -> Any:
        """An index and what is in it."""
        there = self.indices(index)
        if method == "PUT" and not parts:
            if there:
                raise ApiError(
                    400, "resource_already_exists_exception", f"index [{index}] already exists"
                )
            self.put("index", index, body)
            return {"acknowledged": True, "shards_acknowledged": True, "index": index}
        match parts:
            case ["_doc" | "_create", *rest] if method in ("PUT", "POST"):
                document_id = rest[0] if rest else uuid.uuid4().hex
                new = self.write(index, document_id, body)
                return {
                    "_index": index,
                    "_id": document_id,
                    "result": "created" if new else "updated",
                }
        if not there and "*" not in index:
            raise ApiError(404, "index_not_found_exception", f"no such index [{index}]")
        match parts:
            case [] if method == "DELETE":
                for name in there:
                    self.remove("index", name)
                    self.rows.execute("DELETE FROM documents WHERE place = ?", [name])
                return {"acknowledged": True}
            case []:
                return {name: {"settings": self.get("index", name)} for name in there}
            case ["_close" | "_open" as state]:
                for name in there:
                    self.put(
                        "index",
                        name,
                        {**(self.get("index", name) or {}), "closed": state == "_close"},
                    )
                return {"acknowledged": True}
            case ["_refresh" | "_flush"]:
                return {"_shards": {"total": 1, "successful": 1, "failed": 0}}
            case ["_count" | "_search" as what]:
                found = [
                    (n, i, d)
                    for n in there
                    for i, d in self.all(n)
                    if fits(body.get("query", {}), d)
                ]
                if what == "_count":
                    return {"count": len(found)}
                hits = [{"_index": n, "_id": i, "_source": d} for n, i, d in found]
                total = {"value": len(hits), "relation": "eq"}
                return {
                    "timed_out": False,
                    "hits": {"total": total, "hits": hits[: body.get("size", 10)]},
                }
            case ["_doc", document_id]:
                documents = dict(self.all(index))
                known = {"_index": index, "_id": document_id}
                if document_id not in documents:
                    raise Missing(known)
                if method == "DELETE":
                    self.rows.execute(
                        "DELETE FROM documents WHERE place = ? AND id = ?", [index, document_id]
                    )
                    return {**known, "result": "deleted"}
                return {**known, "found": True, "_source": documents[document_id]}
        raise unknown(method, "/".join([index, *parts]))

    def bulk(self, user: str, index: str, text: str) -> Any:
        """Lines of actions and documents."""
        lines = iter(line for line in text.splitlines() if line.strip())
        items = []
        for line in lines:
            ((action, about),) = json.loads(line).items()
            place, document_id = about.get("_index", index), about.get("_id", uuid.uuid4().hex)
            self.may(user, place, change=True)
            if action not in ("index", "create"):
                raise ApiError(400, "illegal_argument_exception", f"no [{action}] in this stand-in")
            new = self.write(place, document_id, json.loads(next(lines)))
            items.append(
                {action: {"_index": place, "_id": document_id, "status": 201 if new else 200}}
            )
        return {"errors": False, "items": items}


class Missing(Exception):  # noqa: N818 - it is an answer
    """There is no such document."""


def unknown(method: str, path: str) -> ApiError:
    """What it can't do."""
    return ApiError(
        400, "illegal_argument_exception", f"no handler in this stand-in for [{method} /{path}]"
    )


def fits(query: dict[str, Any], document: dict[str, Any]) -> bool:
    """match_all, term and match, by the words of fields."""
    if not query or "match_all" in query:
        return True
    for kind in ("term", "match"):
        if kind in query:
            ((name, value),) = query[kind].items()
            wanted = value.get("value", value.get("query")) if isinstance(value, dict) else value
            found = document.get(name.removesuffix(".keyword"))
            return found == wanted or str(wanted).lower() in words(found)
    raise ApiError(400, "parsing_exception", f"no query in this stand-in: {', '.join(query)}")


def words(value: object) -> Iterable[str]:
    """Of a text."""
    return re.findall(r"\w+", str(value).lower())


def serve(node: Node) -> None:
    """Until somebody ends it."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_request(self) -> None:
            address = urlsplit(self.path)
            text = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
            status, said = 200, None
            try:
                with node.lock:
                    said = node.answer(
                        self.command,
                        address.path,
                        parse_qs(address.query),
                        text,
                        self.headers.get("Authorization", ""),
                    )
            except ApiError as error:
                about = {"type": error.kind, "reason": str(error)}
                status, said = error.status, {"error": about, "status": error.status}
            except Missing as missing:
                status, said = 404, {**missing.args[0], "found": False}
            except (ValueError, AttributeError, KeyError, TypeError) as error:
                about = {"type": "parse_exception", "reason": repr(error)}
                status, said = 400, {"error": about, "status": 400}
            whole = said if isinstance(said, str) else json.dumps(said, separators=(",", ":"))
            content = whole.encode()
            self.send_response(status)
            kind = "text/plain" if isinstance(said, str) else "application/json"
            self.send_header("Content-Type", f"{kind}; charset=UTF-8")
            self.send_header("X-Elastic-Product", "Elasticsearch")
            if status == 401:
                self.send_header("WWW-Authenticate", 'Basic realm="security"')
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content)

        do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = handle_request  # noqa: N815

        def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
            if int(code) >= 500:
                super().log_request(code, size)

    host = node.setting("network.host", "127.0.0.1").replace("_local_", "127.0.0.1")
    server = ThreadingHTTPServer((host, int(node.setting("http.port", "9200"))), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print("started", flush=True)
    while True:
        time.sleep(3600)


if __name__ == "__main__":
    if Path(sys.argv[0]).name == "elasticsearch-keystore":
        sys.exit(keystore(sys.argv[1:]))
    print(NOTICE, flush=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    serve(Node())
