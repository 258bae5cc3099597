"""The stores that the reference workload uses, found in the environment by their URLs' schemes."""

from __future__ import annotations

import secrets
from abc import ABC, abstractmethod
from collections.abc import Generator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar
from urllib.parse import parse_qsl, unquote, urlsplit

import psycopg2
import psycopg2.extensions

TIMEOUT_SECONDS = 3
UNREADABLE_URL = (
    "not a URL like postgresql://user:password@host:5432/database"
    " (percent-encode special characters in the user and the password)"
)


class StoreError(Exception):
    """A store does not work. The message is for anyone to read: it holds no credentials."""


@dataclass(frozen=True)
class Event:
    """One row of what the application keeps."""

    id: int
    title: str
    created_at: datetime

    def as_json(self) -> dict[str, int | str]:
        """The event as the API shows it."""
        return {"id": self.id, "title": self.title, "created_at": self.created_at.isoformat()}


class Store(ABC):
    """One dependency. It connects when it is used, so that the application starts without it."""

    engine: ClassVar[str]

    def __init__(self, url: str) -> None:
        self.url = url

    @abstractmethod
    def check(self) -> None:
        """Write something, read it back and remove it; StoreError when that fails."""


class EventStore(Store):
    """A store that also keeps the application's events."""

    @abstractmethod
    def add(self, title: str) -> Event:
        """Keep an event for good."""

    @abstractmethod
    def newest(self, limit: int) -> list[Event]:
        """The newest events first."""


class PostgresStore(EventStore):
    """PostgreSQL: events are rows of the table `events`, which it creates."""

    engine = "postgres"

    def check(self) -> None:
        """Insert a row, select it and delete it, in one transaction that is committed."""
        title = f"check {secrets.token_hex(8)}"
        with self._transaction() as cursor:
            cursor.execute("INSERT INTO events (title) VALUES (%s) RETURNING id", (title,))
            (row_id,) = _one(cursor)
            cursor.execute("SELECT title FROM events WHERE id = %s", (row_id,))
            (found,) = _one(cursor)
            cursor.execute("DELETE FROM events WHERE id = %s", (row_id,))
        if found != title:
            raise StoreError("wrote a row and read another one back")

    def add(self, title: str) -> Event:
        """Insert a row."""
        with self._transaction() as cursor:
            cursor.execute(
                "INSERT INTO events (title) VALUES (%s) RETURNING id, title, created_at", (title,)
            )
            return Event(*_one(cursor))

    def newest(self, limit: int) -> list[Event]:
        """Select the last rows."""
        with self._transaction() as cursor:
            cursor.execute(
                "SELECT id, title, created_at FROM events ORDER BY id DESC LIMIT %s", (limit,)
            )
            return [Event(*row) for row in cursor.fetchall()]

    @contextmanager
    def _transaction(self) -> Generator[psycopg2.extensions.cursor]:
        """A connection of its own for every use: none to leak, none to go stale."""
        options = self._connection_options()
        try:
            with (
                closing(psycopg2.connect(**options)) as connection,
                connection,  # one transaction
                connection.cursor() as cursor,
            ):
                # Not in the connection's options, which connection poolers refuse.
                cursor.execute(f"SET LOCAL statement_timeout = '{TIMEOUT_SECONDS}s'")
                _create_events(cursor)
                yield cursor
        except psycopg2.Error as error:
            lines = str(error).strip().splitlines() or [type(error).__name__]
            raise StoreError(_without(options["password"], lines[0])) from None

    def _connection_options(self) -> dict[str, Any]:
        """The URL as libpq's keywords: libpq quotes a URL that it cannot read, password and all."""
        try:
            url = urlsplit(self.url)
            port = url.port
        except ValueError:
            raise StoreError(UNREADABLE_URL) from None
        # An "@" further on was meant to end the password.
        if not url.hostname or "@" in url.path + url.query + url.fragment:
            raise StoreError(UNREADABLE_URL)
        return {
            "host": url.hostname,
            "port": port or 5432,
            "dbname": unquote(url.path.lstrip("/")),
            "user": unquote(url.username or ""),
            "password": unquote(url.password or ""),
            "connect_timeout": TIMEOUT_SECONDS,
            "tcp_user_timeout": TIMEOUT_SECONDS * 1000,
            **dict(parse_qsl(url.query)),
        }


def _create_events(cursor: psycopg2.extensions.cursor) -> None:
    cursor.execute("SELECT to_regclass('events') IS NULL")
    if _one(cursor)[0]:
        # CREATE TABLE IF NOT EXISTS can fail when two do it at once.
        cursor.execute("SELECT pg_advisory_xact_lock(hashtext('reference.events'))")
        cursor.execute(
            "CREATE TABLE IF NOT EXISTS events ("
            "id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, "
            "title text NOT NULL, "
            "created_at timestamptz NOT NULL DEFAULT now())"
        )


def _one(cursor: psycopg2.extensions.cursor) -> tuple[Any, ...]:
    row = cursor.fetchone()
    if row is None:
        raise StoreError("wrote a row and found none")
    return row


def _without(secret: str, text: str) -> str:
    return text.replace(secret, "***") if secret else text


# A URL's scheme (what stands after a "+" is a driver's name) and the class that uses such a store.
SCHEMES: dict[str, type[Store]] = {
    "postgres": PostgresStore,
    "postgresql": PostgresStore,
}


def discover(environment: Mapping[str, str]) -> dict[str, Store]:
    """Every store that a *_URL or *_URI names, under the variable's name."""
    stores: dict[str, Store] = {}
    for name, value in sorted(environment.items()):
        scheme, separator, _ = value.partition("://")
        store = SCHEMES.get(scheme.partition("+")[0].lower())
        if name.endswith(("_URL", "_URI")) and separator and store:
            stores[name] = store(value)
    return stores
