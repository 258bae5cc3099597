"""The queue of jobs: RabbitMQ, or Celery on Redis."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import ClassVar, Protocol

from reference.stores import RabbitStore, RedisStore, Store
from reference.stores.base import Job


class Queue(Protocol):
    """Where the API leaves jobs for the workers."""

    #: Workers need no access to the API's database: the job goes with the message, and its result
    #: comes back as an object.
    apart: ClassVar[bool]

    def put(self, job: Job) -> None:
        """Leave a job; StoreError when that fails."""


def broker(stores: Mapping[str, Store]) -> RabbitStore | RedisStore | None:
    """Where the queue lives: CELERY_BROKER_URL, else the RabbitMQ, else the first Redis."""
    found = {
        name: store for name, store in stores.items() if isinstance(store, RabbitStore | RedisStore)
    }
    rabbits = (store for store in found.values() if isinstance(store, RabbitStore))
    return found.get("CELERY_BROKER_URL") or next(rabbits, None) or next(iter(found.values()), None)


def queue(environment: Mapping[str, str], store: RabbitStore | RedisStore | None) -> Queue | None:
    """The queue that lives there."""
    if isinstance(store, RabbitStore):
        return RabbitQueue(store)
    if isinstance(store, RedisStore):
        # Celery takes its time to import.
        from reference.celery_queue import CeleryQueue

        return CeleryQueue(environment, store)
    return None


class RabbitQueue:
    """One message for each job: all of it."""

    apart: ClassVar[bool] = True

    def __init__(self, store: RabbitStore) -> None:
        self._store = store

    def put(self, job: Job) -> None:
        message = {"id": job.id, "text": job.text, "seconds": job.seconds}
        self._store.put(json.dumps(message).encode())
