"""Elasticsearch and what speaks its protocol, OpenSearch too."""

from __future__ import annotations

import json
import secrets
from functools import cached_property
from typing import Any, cast
from urllib.parse import parse_qs, unquote

import urllib3
from urllib3.exceptions import HTTPError

from reference.stores.base import Store, StoreError, value

BAD_REQUEST = 400


class ElasticsearchStore(Store):
    """A document in the index ELASTICSEARCH_INDEX, which it creates."""

    engine = "elasticsearch"
    example = "http://user:password@host:9200"

    def check(self) -> None:
        """Put a document, get it by its id and delete it."""
        self.migrate()
        document = {"check": secrets.token_hex(8)}
        path = f"/{self._index}/_doc/{document['check']}"
        self._call("PUT", path, document)
        found = self._call("GET", path).get("_source")
        self._call("DELETE", path)
        if found != document:
            raise StoreError("wrote a document and read another one back")

    def migrate(self) -> list[str]:
        """Create the index; of one node alone it asks for no copies."""
        settings = {"settings": {"index": {"auto_expand_replicas": "0-1"}}}
        self._call("PUT", f"/{self._index}", settings, "resource_already_exists_exception")
        return [f"the index {self._index} is there"]

    @property
    def _index(self) -> str:
        return value(self.environment, "ELASTICSEARCH_INDEX") or "reference"

    def _call(
        self, method: str, path: str, body: dict[str, Any] | None = None, fine: str = ""
    ) -> dict[str, Any]:
        """The answer; an error of the type `fine` is none."""
        try:
            response = self._client.request(
                method,
                path,
                body=json.dumps(body).encode() if body else None,
                headers={**self._client.headers, "Content-Type": "application/json"},
            )
        except HTTPError as error:
            raise self.failure(error) from None
        try:
            answer = json.loads(response.data)
        except ValueError:
            answer = None
        if not isinstance(answer, dict):
            raise StoreError(f"{method} {path} is answered with {response.status} and no JSON")
        answer = cast("dict[str, Any]", answer)
        if response.status < BAD_REQUEST:
            return answer
        error = answer.get("error")
        kind, reason = (
            (str(error.get("type")), str(error.get("reason")))
            if isinstance(error, dict)
            else (str(response.status), str(error))
        )
        if kind == fine:
            return answer
        raise self.failure(f"{method} {path}: {response.status} {kind}: {reason}")

    @cached_property
    def _client(self) -> urllib3.HTTPConnectionPool:
        """It connects when it is used, and again when the connection was lost."""
        url = self.split_url()
        assert url.hostname
        user = f"{unquote(url.username or '')}:{unquote(url.password or '')}"
        shared: dict[str, Any] = {
            "port": url.port or 9200,
            "timeout": urllib3.Timeout(self.timeout_seconds),
            "retries": False,
            "headers": urllib3.make_headers(basic_auth=user if url.username else None),
        }
        if url.scheme == "https":
            return urllib3.HTTPSConnectionPool(
                url.hostname, ca_certs=parse_qs(url.query).get("cafile", [None])[0], **shared
            )
        return urllib3.HTTPConnectionPool(url.hostname, **shared)
