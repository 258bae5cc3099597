"""What every store of the reference workload is, and what the stores have in common."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import ClassVar
from urllib.parse import SplitResult, unquote, urlsplit


class StoreError(Exception):
    """A store does not work. The message is for anyone to read: it holds no credentials."""


def value(environment: Mapping[str, str], name: str) -> str:
    """A variable's value, or what the file at <name>_FILE holds; "" when neither is set."""
    path = environment.get(f"{name}_FILE")
    if not path:
        return environment.get(name, "")
    if environment.get(name):
        raise StoreError(f"{name} and {name}_FILE are both set; set one of them")
    try:
        return Path(path).read_text().strip()
    except OSError as error:
        raise StoreError(f"cannot read the file at {name}_FILE: {error.strerror}") from None
    except UnicodeDecodeError:
        raise StoreError(f"the file at {name}_FILE is not text in UTF-8") from None


class Store(ABC):
    """One dependency. It connects when it is used, so that the application starts without it."""

    engine: ClassVar[str]
    timeout_seconds: ClassVar[int] = 3
    example: ClassVar[str] = "engine://user:password@host:1234/database"

    def __init__(self, url: str, environment: Mapping[str, str] | None = None) -> None:
        self.url = url
        self.environment = environment or {}

    @abstractmethod
    def check(self) -> None:
        """Write something, read it back and remove it; StoreError when that fails."""

    def migrate(self) -> list[str]:
        """Make what is kept in the store ready, as often as wanted; what there is, as lines."""
        return []

    def secrets(self) -> list[str]:
        """What no message may contain."""
        found = re.match(r"[^:]+://[^:@/]*:([^@]*)@", self.url)
        return [found[1], unquote(found[1])] if found else []

    def failure(self, error: Exception | str) -> StoreError:
        """The first line of an error, without credentials."""
        lines = str(error).strip().splitlines() or [type(error).__name__]
        text = lines[0]
        for secret in self.secrets():
            text = text.replace(secret, "***") if secret else text
        return StoreError(text)

    def unreadable(self) -> StoreError:
        """Drivers quote a URL that they cannot read, password and all; this does not."""
        return StoreError(
            f"not a URL like {self.example}"
            " (percent-encode special characters in the user and the password)"
        )

    def split_url(self) -> SplitResult:
        """The URL's parts; StoreError when there is no host or the port is not a number."""
        try:
            url = urlsplit(self.url)
            _ = url.port
        except ValueError:
            raise self.unreadable() from None
        # An "@" further on was meant to end the password.
        if not url.hostname or "@" in url.path + url.query + url.fragment:
            raise self.unreadable()
        return url


class BrokenStore(Store):
    """A store whose settings cannot be read, so that its health says why."""

    engine = "unknown"

    def __init__(self, error: StoreError) -> None:
        super().__init__("")
        self.error = error

    def check(self) -> None:
        raise StoreError(str(self.error))


@dataclass(frozen=True)
class Event:
    """One entry of what the application keeps."""

    id: int | str
    title: str
    created_at: datetime

    def as_json(self) -> dict[str, int | str]:
        """The event as the API shows it."""
        return {"id": self.id, "title": self.title, "created_at": self.created_at.isoformat()}


@dataclass(frozen=True)
class Job:
    """One piece of work for a worker."""

    id: str
    text: str
    seconds: float
    """How long the work takes."""
    attempts: int
    """How often a worker began it."""
    worker: str | None
    """The host name of the worker that began it last; once it is done, of the one that did it."""
    result: dict[str, object] | None
    created_at: datetime
    finished_at: datetime | None

    @property
    def state(self) -> str:
        """What a client waits for: queued, running, done or failed."""
        if self.result is not None:
            return "failed" if "error" in self.result else "done"
        return "running" if self.attempts else "queued"

    def as_json(self) -> dict[str, object]:
        """The job as the API shows it."""
        return {
            "id": self.id,
            "state": self.state,
            "text": self.text,
            "seconds": self.seconds,
            "attempts": self.attempts,
            "worker": self.worker,
            "result": self.result,
            "created_at": self.created_at.isoformat(),
            "finished_at": self.finished_at.isoformat() if self.finished_at else None,
        }


class Database(Store):
    """A store that also keeps the application's events and jobs."""

    @abstractmethod
    def add(self, title: str) -> Event:
        """Keep an event for good."""

    @abstractmethod
    def newest(self, limit: int) -> list[Event]:
        """The newest events first."""

    @abstractmethod
    def add_job(self, job_id: str, text: str, seconds: float) -> Job:
        """Keep a job that no worker has begun."""

    @abstractmethod
    def remove_job(self, job_id: str) -> None:
        """Forget a job, if there is one."""

    @abstractmethod
    def job(self, job_id: str) -> Job | None:
        """The job of this id."""

    @abstractmethod
    def begin_job(self, job_id: str, worker: str) -> Job | None:
        """Count one more attempt; the job with it. Who did a finished one stays."""

    @abstractmethod
    def job_texts(self, limit: int) -> list[str]:
        """The texts of the newest jobs."""

    @abstractmethod
    def finish_job(self, job_id: str, worker: str, result: dict[str, object]) -> bool:
        """Record the result unless there is one; whether this call recorded it."""
