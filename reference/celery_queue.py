"""The queue of jobs: Celery on Redis."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from typing import ClassVar
from urllib.parse import parse_qsl

from celery import Celery
from kombu.exceptions import OperationalError

from reference.jobs import SOFT_TIME_LIMIT
from reference.stores import RedisStore, StoreError
from reference.stores.base import Job

TASK = "reference.job"
# Pigmeu's document, in seconds.
TIME_LIMIT = 1800
# A job that a lost worker had begun is given to another one when this has passed, so it must be
# more than the longest job takes.
VISIBILITY_SECONDS = 2100


def visibility_seconds(environment: Mapping[str, str]) -> float:
    """CELERY_VISIBILITY_TIMEOUT."""
    text = environment.get("CELERY_VISIBILITY_TIMEOUT") or str(VISIBILITY_SECONDS)
    if not text.isdecimal() or int(text) < 1:
        raise StoreError(f"CELERY_VISIBILITY_TIMEOUT is {text!r}, not a number of seconds")
    return int(text)


def celery_app(environment: Mapping[str, str], store: RedisStore) -> Celery:
    """Celery with the documented limits, for who puts jobs in and for who does them."""
    url = store.split_url()
    app = Celery("reference", broker=store.url)
    app.conf.update(
        task_time_limit=TIME_LIMIT,
        task_soft_time_limit=SOFT_TIME_LIMIT,
        task_acks_late=True,
        task_reject_on_worker_lost=True,
        # Results are in the database, once, and not in the queue's store.
        task_ignore_result=True,
        # A job that waits in a busy worker is one that an idle worker cannot take.
        worker_prefetch_multiplier=1,
        broker_connection_retry_on_startup=True,
        broker_transport_options={
            "visibility_timeout": visibility_seconds(environment),
            "socket_connect_timeout": store.timeout_seconds,
            "socket_timeout": store.timeout_seconds,
            "socket_keepalive": True,
        },
        # Every connection is tried anew before it is used; more tries would only take time.
        task_publish_retry=False,
        broker_connection_max_retries=None,
    )
    if url.scheme == "rediss":
        options = {key: text for key, text in parse_qsl(url.query) if key.startswith("ssl_")}
        app.conf.broker_use_ssl = {"ssl_cert_reqs": ssl.CERT_REQUIRED, **options}
    return app


class CeleryQueue:
    """The queue as the API uses it."""

    apart: ClassVar[bool] = False

    def __init__(self, environment: Mapping[str, str], store: RedisStore) -> None:
        self._app = celery_app(environment, store)
        self._store = store

    def put(self, job: Job) -> None:
        try:
            self._app.send_task(TASK, [job.id], task_id=job.id)
        except OperationalError as error:
            raise self._store.failure(error) from None
