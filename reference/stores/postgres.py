"""PostgreSQL."""

from __future__ import annotations

import json
import secrets
from collections.abc import Generator
from contextlib import closing, contextmanager
from typing import Any
from urllib.parse import parse_qsl, unquote

import psycopg2
import psycopg2.extensions

from reference.stores.base import Database, Event, Job, StoreError

TABLES = {
    "events": "id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, "
    "title text NOT NULL, "
    "created_at timestamptz NOT NULL DEFAULT now()",
    "jobs": "id text PRIMARY KEY, "
    "text text NOT NULL, "
    "seconds double precision NOT NULL, "
    "attempts integer NOT NULL DEFAULT 0, "
    "worker text, "
    "result jsonb, "
    "created_at timestamptz NOT NULL DEFAULT now(), "
    "finished_at timestamptz",
}
JOB = "id, text, seconds, attempts, worker, result, created_at, finished_at"


class PostgresStore(Database):
    """Events and jobs are rows of the tables `events` and `jobs`, which it creates."""

    engine = "postgres"
    example = "postgresql://user:password@host:5432/database"

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

    def migrate(self) -> list[str]:
        """Every use creates the tables; so does this."""
        with self._transaction():
            return [f"the table {table} is there" for table in TABLES]

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

    def add_job(self, job_id: str, text: str, seconds: float) -> Job:
        """Insert a row."""
        with self._transaction() as cursor:
            cursor.execute(
                f"INSERT INTO jobs (id, text, seconds) VALUES (%s, %s, %s) RETURNING {JOB}",  # noqa: S608
                (job_id, text, seconds),
            )
            return Job(*_one(cursor))

    def remove_job(self, job_id: str) -> None:
        """Delete the row."""
        with self._transaction() as cursor:
            cursor.execute("DELETE FROM jobs WHERE id = %s", (job_id,))

    def job(self, job_id: str) -> Job | None:
        """Select the row."""
        return self._find(f"SELECT {JOB} FROM jobs WHERE id = %s", job_id)  # noqa: S608

    def begin_job(self, job_id: str, worker: str) -> Job | None:
        """One statement, so that two workers count two attempts."""
        return self._find(
            "UPDATE jobs SET attempts = attempts + 1,"  # noqa: S608
            " worker = CASE WHEN result IS NULL THEN %s ELSE worker END"
            f" WHERE id = %s RETURNING {JOB}",
            worker,
            job_id,
        )

    def finish_job(self, job_id: str, worker: str, result: dict[str, object]) -> bool:
        """One statement, so that one of two workers records its result."""
        with self._transaction() as cursor:
            cursor.execute(
                "UPDATE jobs SET result = %s, worker = %s, finished_at = now()"
                " WHERE id = %s AND result IS NULL",
                (json.dumps(result), worker, job_id),
            )
            return cursor.rowcount == 1

    def job_texts(self, limit: int) -> list[str]:
        """Select the last rows' texts."""
        with self._transaction() as cursor:
            cursor.execute("SELECT text FROM jobs ORDER BY created_at DESC LIMIT %s", (limit,))
            return [text for (text,) in cursor.fetchall()]

    def _find(self, statement: str, *values: str) -> Job | None:
        with self._transaction() as cursor:
            cursor.execute(statement, values)
            row = cursor.fetchone()
            return Job(*row) if row else None

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
                cursor.execute(f"SET LOCAL statement_timeout = '{self.timeout_seconds}s'")
                _create_tables(cursor)
                yield cursor
        except psycopg2.Error as error:
            raise self.failure(error) from None

    def _connection_options(self) -> dict[str, Any]:
        """The URL as libpq's keywords: libpq quotes a URL that it cannot read, password and all."""
        url = self.split_url()
        return {
            "host": url.hostname,
            "port": url.port or 5432,
            "dbname": unquote(url.path.lstrip("/")),
            "user": unquote(url.username or ""),
            "password": unquote(url.password or ""),
            "connect_timeout": self.timeout_seconds,
            "tcp_user_timeout": self.timeout_seconds * 1000,
            **dict(parse_qsl(url.query)),
        }


def _create_tables(cursor: psycopg2.extensions.cursor) -> None:
    for table, columns in TABLES.items():
        cursor.execute("SELECT to_regclass(%s) IS NULL", (table,))
        if _one(cursor)[0]:
            # CREATE TABLE IF NOT EXISTS can fail when two do it at once.
            cursor.execute("SELECT pg_advisory_xact_lock(hashtext('reference'))")
            cursor.execute(f"CREATE TABLE IF NOT EXISTS {table} ({columns})")


def _one(cursor: psycopg2.extensions.cursor) -> tuple[Any, ...]:
    row = cursor.fetchone()
    if row is None:
        raise StoreError("wrote a row and found none")
    return row
