"""A worker for jobs that wait in RabbitMQ: `python3 -m reference.rabbit_worker`.

A job is acknowledged after it is done. So it is given to another worker when this one is killed, or
loses its connection.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from pika.adapters.blocking_connection import BlockingChannel
from pika.exceptions import AMQPError
from pika.spec import Basic, BasicProperties
from werkzeug.exceptions import BadRequest

from reference.health import Health
from reference.jobs import SOFT_TIME_LIMIT, TEXT_LENGTH, work
from reference.log import configure_logging
from reference.metrics import JOBS, Measured, serve
from reference.queues import broker
from reference.stores import (
    Database,
    RabbitStore,
    S3Store,
    StoreError,
    database,
    discover,
    objects,
)
from reference.validation import field as json_field
from reference.validation import valid_name, valid_number, valid_text

HEARTBEAT_SECONDS = 5
# Between two tries: of a job whose store is down, and to connect.
LONGEST_PAUSE, CONNECT_PAUSE = 30, 5

logger = logging.getLogger("reference")


@dataclass
class Worker:
    """Takes jobs, some at a time, until it is told to stop."""

    store: RabbitStore
    database: Database
    objects: S3Store | None
    concurrency: int
    heartbeat_file: Path | None = None
    host: str = field(default_factory=socket.gethostname)
    stopping: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        """Work; connect again, ever later, when the queue is away."""
        pause = 1
        with ThreadPoolExecutor(self.concurrency) as pool:
            while not self.stopping.is_set():
                started = time.monotonic()
                try:
                    with self.store.errors():
                        self._consume(pool)
                except StoreError as error:
                    pause = 1 if time.monotonic() - started > LONGEST_PAUSE else pause
                    logger.warning("the queue fails, again in %d s: %s", pause, error)
                    self.stopping.wait(pause)
                    pause = min(pause * 2, CONNECT_PAUSE)

    def _consume(self, pool: ThreadPoolExecutor) -> None:
        running: set[Future[bool | None]] = set()
        with self.store.connect() as connection:
            channel = self.store.declare(connection)
            channel.basic_qos(prefetch_count=self.concurrency)

            def take(
                _channel: BlockingChannel,
                method: Basic.Deliver,
                _properties: BasicProperties,
                body: bytes,
            ) -> None:
                job = pool.submit(self.do, body)
                running.add(job)

                def answer() -> None:
                    running.discard(job)
                    settle(channel, method.delivery_tag, job)

                def done(_job: Future[bool | None]) -> None:
                    # Only the connection's own thread may use it. Where it is closed already, the
                    # server has given the job to somebody else.
                    with suppress(AMQPError):
                        connection.add_callback_threadsafe(answer)

                job.add_done_callback(done)

            consumer = channel.basic_consume(self.store.queue, take)
            logger.info("taking jobs from the queue %s", self.store.queue)
            beaten = -1e9
            while not self.stopping.is_set():
                connection.process_data_events(time_limit=1)
                if not channel.consumer_tags:
                    raise StoreError(f"the queue {self.store.queue} was taken away")
                if time.monotonic() - beaten >= HEARTBEAT_SECONDS:
                    beaten = time.monotonic()
                    if self.heartbeat_file:
                        self.heartbeat_file.touch()
            channel.basic_cancel(consumer)
            while running:
                connection.process_data_events(time_limit=1)

    def do(self, body: bytes) -> bool | None:
        """Do the job of a message: whether it is done, or None when it can never be done."""
        try:
            message = json.loads(body)
            job_id = valid_name(json_field(message, "id"))
            text = valid_text(message, "text", TEXT_LENGTH)
            seconds = valid_number(message, "seconds", SOFT_TIME_LIMIT) or 0
        except (ValueError, BadRequest) as error:
            logger.warning("refused a message that is no job: %s", error)
            return None
        pause = 1
        while True:
            try:
                adopt(self.database, job_id, text, seconds)
                work(self.database, self.objects, job_id, self.host)
                return True
            except StoreError as error:
                logger.warning("job %s fails, again in %d s: %s", job_id, pause, error)
            if self.stopping.wait(pause):
                return False
            pause = min(pause * 2, LONGEST_PAUSE)


def adopt(database: Database, job_id: str, text: str, seconds: float) -> None:
    """Keep a job that another application's database knows, unless it is kept here already."""
    if database.job(job_id) is None:
        try:
            database.add_job(job_id, text, seconds)
        except StoreError:
            # Another worker has the same job, and was faster.
            if database.job(job_id) is None:
                raise


def settle(channel: BlockingChannel, tag: int, job: Future[bool | None]) -> None:
    """Tell the server what has become of a message, and count what failed."""
    if error := job.exception():
        logger.error("a job failed", exc_info=error)
    done = None if error else job.result()
    if done:
        channel.basic_ack(tag)
        return
    if done is None:
        JOBS.labels("job", "failed").inc()
    # What is refused goes where the queue's policy sends it; what is not done, back.
    channel.basic_reject(tag, requeue=done is False)


def main(environment: Mapping[str, str]) -> None:
    """Run until SIGTERM, then finish the jobs that were begun."""
    configure_logging(environment)
    stores = discover(environment)
    store, kept = broker(stores), database(stores)
    if not isinstance(store, RabbitStore) or kept is None:
        sys.exit("a worker needs a queue (RABBITMQ_URL) and a database (DATABASE_URL)")
    concurrency = environment.get("WORKER_CONCURRENCY") or "1"
    if not concurrency.isdecimal() or int(concurrency) < 1:
        sys.exit(f"WORKER_CONCURRENCY is {concurrency!r}, not a number of jobs at a time")
    heartbeat = environment.get("HEARTBEAT_FILE")
    worker = Worker(
        store, kept, objects(stores), int(concurrency), Path(heartbeat) if heartbeat else None
    )
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: worker.stopping.set())
    try:
        serve(environment, Measured(Health(stores), store))
    except (StoreError, OSError) as error:
        sys.exit(f"METRICS_PORT: {error}")
    worker.run()


if __name__ == "__main__":
    main(os.environ)
