"""The worker: `celery -A src.workers.worker worker`."""

from __future__ import annotations

import os
import socket
import sys

from celery.exceptions import SoftTimeLimitExceeded
from celery.signals import worker_init

from reference import metrics
from reference.celery_queue import TASK, celery_app
from reference.health import Health
from reference.housekeeping import keep_house
from reference.jobs import SOFT_TIME_LIMIT, work
from reference.queues import broker
from reference.stores import RedisStore, StoreError, database, discover, objects
from reference.stores.base import value

_host = socket.gethostname()
_stores = discover(os.environ)
_broker = broker(_stores)
_database = database(_stores)
_objects = objects(_stores)
if not isinstance(_broker, RedisStore) or _database is None:
    sys.exit("a worker needs a queue (REDIS_URL) and a database (DATABASE_URL or MONGODB_URI)")
try:
    app = celery_app(os.environ, _broker)
    # Flower, a program of Celery's, takes its user and password from here.
    if users := value(os.environ, "FLOWER_BASIC_AUTH"):
        os.environ["FLOWER_BASIC_AUTH"] = users
except StoreError as error:
    sys.exit(str(error))


@app.task(
    name=TASK,
    # A store that is down will be back: try again after 1, 2, 4 and at most 30 seconds.
    autoretry_for=(StoreError,),
    retry_backoff=True,
    retry_backoff_max=30,
    max_retries=None,
)
def job(job_id: str) -> None:
    """Do a job."""
    assert _database is not None
    try:
        work(_database, _objects, job_id, _host)
    except SoftTimeLimitExceeded:
        reason = f"took longer than {SOFT_TIME_LIMIT} seconds"
        _database.finish_job(job_id, _host, {"error": reason})
        metrics.JOBS.labels("job", "failed").inc()


@worker_init.connect
def begin(**_: object) -> None:
    """Serve the metrics; of a worker only, and not of a program that asks one how it does."""
    metrics.empty_folder(os.environ)
    try:
        metrics.serve(os.environ, metrics.Measured(Health(_stores), _broker))
    except (StoreError, OSError) as error:
        sys.exit(f"METRICS_PORT: {error}")


keep_house(app, _broker)
