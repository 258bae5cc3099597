"""Objects from outside: past the application with signed URLs, and through it."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from typing import IO

from flask import Flask, Response, jsonify, request
from werkzeug.exceptions import BadRequest, LengthRequired, NotFound, ServiceUnavailable

from reference.stores import S3Store
from reference.stores.s3 import ACCESS_SECONDS
from reference.validation import field, valid_name, valid_number

CHUNK = 64 * 1024
SIGNED_LIMIT = 5 * 1024**3
"""Bytes that S3 takes in one piece."""


def add_upload_routes(app: Flask, environment: Mapping[str, str], objects: S3Store | None) -> None:
    """POST /uploads, GET /uploads/<name> and POST /upload."""

    def store() -> S3Store:
        if objects is None:
            raise ServiceUnavailable("no store for objects is configured (S3_ENDPOINT)")
        return objects

    @app.post("/uploads")
    def sign_upload() -> tuple[Response, int]:
        """Sign a URL to which a client may PUT an object."""
        body = request.get_json(silent=True)
        name = valid_name(field(body, "name"))
        size = valid_number(body, "size", SIGNED_LIMIT)
        url = store().signed_put(_key(name), None if size is None else int(size))
        return jsonify(name=name, method="PUT", url=url, expires_in=ACCESS_SECONDS), 201

    @app.get("/uploads/<name>")
    def sign_download(name: str) -> Response:
        """Sign a URL from which a client may GET an object."""
        key = _key(valid_name(name))
        size = store().size(key)
        if size is None:
            raise NotFound("no such object")
        url = store().signed_get(key)
        return jsonify(name=name, method="GET", url=url, size=size, expires_in=ACCESS_SECONDS)

    @app.post("/upload")
    def upload() -> tuple[Response, int]:
        """Keep the request's body as an object; its name is in the query."""
        name = valid_name(request.args.get("name"))
        size = request.content_length
        if size is None:
            raise LengthRequired("send the body's Content-Length")
        # All of it is here before any of it goes to the bucket. The file has no name, so nothing
        # is left of it either when this process dies.
        with tempfile.TemporaryFile(dir=environment.get("UPLOADS_FOLDER") or None) as file:
            if _copy(request.stream, file) != size:
                raise BadRequest("the body ended before its Content-Length")
            file.seek(0)
            store().put(_key(name), file)
        return jsonify(name=name, size=size), 201


def _key(name: str) -> str:
    return f"uploads/{name}"


def _copy(source: IO[bytes], target: IO[bytes]) -> int:
    copied = 0
    while chunk := source.read(CHUNK):
        copied += target.write(chunk)
    return copied
