"""Microsoft SQL Server."""

from __future__ import annotations

import json
import secrets
from collections.abc import Generator, Sequence
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from typing import Any, NamedTuple
from urllib.parse import parse_qs, unquote

import pytds

from reference.stores.base import Database, Event, Job, StoreError

# Times are text in UTC, which sorts as it should: so no time zone or driver changes them.
TABLES = {
    "events": "id nvarchar(40) NOT NULL PRIMARY KEY, "
    "title nvarchar(400) NOT NULL, "
    "created_at nvarchar(40) NOT NULL",
    "jobs": "id nvarchar(40) NOT NULL PRIMARY KEY, "
    "text nvarchar(4000) NOT NULL, "
    "seconds float NOT NULL, "
    "attempts int NOT NULL, "
    "worker nvarchar(400), "
    "result nvarchar(4000), "
    "created_at nvarchar(40) NOT NULL, "
    "finished_at nvarchar(40)",
}
JOB = "id, text, seconds, attempts, worker, result, created_at, finished_at"
INVALID_OBJECT, ALREADY_AN_OBJECT = 208, 2714


class Answer(NamedTuple):
    """What a statement gave."""

    rows: list[tuple[Any, ...]]
    affected: int


class MssqlStore(Database):
    """Events and jobs are rows of the tables `events` and `jobs`, which it creates."""

    engine = "mssql"
    example = "mssql://user:password@host:1433/database"

    def check(self) -> None:
        """Insert a row, select it and delete it."""
        # Without parameters: what answers to plain statements only, is good enough for this.
        row_id, title = secrets.token_hex(8), f"check {secrets.token_hex(8)}"
        with self._use() as run:
            run(f"INSERT INTO events (id, title, created_at) VALUES ('{row_id}', '{title}', '')")  # noqa: S608
            found = run(f"SELECT title FROM events WHERE id = '{row_id}'").rows  # noqa: S608
            run(f"DELETE FROM events WHERE id = '{row_id}'")  # noqa: S608
        if found != [(title,)]:
            raise StoreError("wrote a row and read another one back")

    def migrate(self) -> list[str]:
        """Every use creates the tables where they are missing; so does this."""
        with self._use() as run:
            for table in TABLES:
                run(f"SELECT count(*) FROM {table}")  # noqa: S608
        return [f"the table {table} is there" for table in TABLES]

    def add(self, title: str) -> Event:
        """Insert a row."""
        event = Event(secrets.token_hex(8), title, datetime.now(UTC))
        with self._use() as run:
            run(
                "INSERT INTO events (id, title, created_at) VALUES (%s, %s, %s)",
                (event.id, title, _text(event.created_at)),
            )
        return event

    def newest(self, limit: int) -> list[Event]:
        """Select the last rows."""
        with self._use() as run:
            rows = run(
                f"SELECT TOP {int(limit)} id, title, created_at FROM events"  # noqa: S608
                " ORDER BY created_at DESC"
            ).rows
        return [Event(row_id, title, _time(created_at)) for row_id, title, created_at in rows]

    def add_job(self, job_id: str, text: str, seconds: float) -> Job:
        """Insert a row."""
        job = Job(job_id, text, float(seconds), 0, None, None, datetime.now(UTC), None)
        with self._use() as run:
            run(
                "INSERT INTO jobs (id, text, seconds, attempts, created_at)"
                " VALUES (%s, %s, %s, 0, %s)",
                (job_id, text, job.seconds, _text(job.created_at)),
            )
        return job

    def remove_job(self, job_id: str) -> None:
        """Delete the row."""
        with self._use() as run:
            run("DELETE FROM jobs WHERE id = %s", (job_id,))

    def job(self, job_id: str) -> Job | None:
        """Select the row."""
        with self._use() as run:
            rows = run(f"SELECT {JOB} FROM jobs WHERE id = %s", (job_id,)).rows  # noqa: S608
        return _job(rows[0]) if rows else None

    def begin_job(self, job_id: str, worker: str) -> Job | None:
        """Each statement counts by itself, so that two workers count two attempts."""
        with self._use() as run:
            run("UPDATE jobs SET attempts = attempts + 1 WHERE id = %s", (job_id,))
            run("UPDATE jobs SET worker = %s WHERE id = %s AND result IS NULL", (worker, job_id))
            rows = run(f"SELECT {JOB} FROM jobs WHERE id = %s", (job_id,)).rows  # noqa: S608
        return _job(rows[0]) if rows else None

    def finish_job(self, job_id: str, worker: str, result: dict[str, object]) -> bool:
        """One statement, so that one of two workers records its result."""
        with self._use() as run:
            answer = run(
                "UPDATE jobs SET result = %s, worker = %s, finished_at = %s"
                " WHERE id = %s AND result IS NULL",
                (json.dumps(result), worker, _text(datetime.now(UTC)), job_id),
            )
        return answer.affected == 1

    def job_texts(self, limit: int) -> list[str]:
        """Select the last rows' texts."""
        with self._use() as run:
            statement = f"SELECT TOP {int(limit)} text FROM jobs ORDER BY created_at DESC"  # noqa: S608
            return [text for (text,) in run(statement).rows]

    @contextmanager
    def _use(self) -> Generator[_Run]:
        """A connection of its own for every use: none to leak, none to go stale."""
        url = self.split_url()
        try:
            connection = pytds.connect(
                url.hostname,
                port=url.port or 1433,
                database=unquote(url.path.removeprefix("/")),
                user=unquote(url.username or ""),
                password=unquote(url.password or ""),
                login_timeout=self.timeout_seconds,
                timeout=self.timeout_seconds,
                autocommit=True,
                disable_connect_retry=True,
                appname="reference",
                # With one, everything is encrypted, and the server's certificate is checked.
                cafile=parse_qs(url.query).get("cafile", [None])[0],
            )
            with closing(connection), closing(connection.cursor()) as cursor:
                yield _Run(cursor)
        except (pytds.Error, OSError, ValueError) as error:
            # The driver's own timeout says nothing; what it waited for to get better does.
            reason = error if error.args else error.__cause__ or error
            text = reason.args[0] if reason.args and isinstance(reason.args[0], str) else reason
            raise self.failure(str(text) or repr(reason)) from None


class _Run:
    """Runs statements; makes the tables when one of them is not there."""

    def __init__(self, cursor: Any) -> None:
        self._cursor = cursor

    def __call__(self, statement: str, values: Sequence[object] = ()) -> Answer:
        try:
            return self._execute(statement, values)
        except pytds.DatabaseError as error:
            if getattr(error, "number", None) != INVALID_OBJECT:
                raise
        for table, columns in TABLES.items():
            try:
                self._execute(f"CREATE TABLE {table} ({columns})")
            except pytds.DatabaseError as error:
                if getattr(error, "number", None) != ALREADY_AN_OBJECT:
                    raise
        return self._execute(statement, values)

    def _execute(self, statement: str, values: Sequence[object] = ()) -> Answer:
        self._cursor.execute(statement, tuple(values))
        rows = self._cursor.fetchall() if self._cursor.description else []
        return Answer([tuple(row) for row in rows], self._cursor.rowcount)


def _job(row: tuple[Any, ...]) -> Job:
    job_id, text, seconds, attempts, worker, result, created_at, finished_at = row
    return Job(
        job_id,
        text,
        seconds,
        attempts,
        worker,
        json.loads(result) if result else None,
        _time(created_at),
        _time(finished_at) if finished_at else None,
    )


def _text(time: datetime) -> str:
    return time.isoformat(timespec="microseconds")


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)
