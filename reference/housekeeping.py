"""What a worker does beside its jobs, and what it needs to outlive its queue's restarts."""

from __future__ import annotations

import logging
import os
from functools import partial
from pathlib import Path
from typing import Any

import kombu
import redis
from celery import Celery, bootsteps
from kombu.transport.redis import Channel

from reference.celery_queue import visibility_seconds
from reference.stores import RedisStore, StoreError

HEARTBEAT_SECONDS = 5

logger = logging.getLogger("reference")


class Connection(redis.Connection):
    """Kombu before 5.3 ends the worker with a TypeError when a newer redis-py cannot connect."""

    def connect(self) -> None:
        try:
            super().connect()
        except TypeError as error:
            raise redis.ConnectionError(str(error.__context__ or error)) from None


def restore_lost_jobs(consumer: Any) -> None:
    """Put the jobs of lost workers back into the queue.

    Celery does so itself, but looks only every hundred seconds.
    """
    channel = consumer.task_consumer.channel
    channel.qos.restore_visible(num=channel.unacked_restore_limit, interval=1)


def ask_for_jobs(consumer: Any) -> None:
    """Ask the queue for jobs, unless that was done.

    Celery does so itself, but kombu before 5.7 can forget to when it was disconnected: the worker
    then lives on and never gets a job (https://github.com/celery/kombu/pull/2492).
    """
    transport = consumer.task_consumer.channel.connection
    transport.cycle.on_poll_start()
    for socket_number in transport.cycle.fds:
        consumer.hub.add_reader(socket_number, transport.on_readable, socket_number)


def beat(store: RedisStore, file: Path) -> None:
    """Touch the file if the queue can be used."""
    try:
        store.check()
        file.touch()
    except (StoreError, OSError) as error:
        logger.warning("no heartbeat: %s", error)


class Housekeeping(bootsteps.StartStopStep):
    """Runs in the worker's main loop while it is connected to its queue.

    So there is no heartbeat of a worker that is stuck or waits for its queue.
    """

    requires = ("celery.worker.consumer.tasks:Tasks",)

    def __init__(self, parent: Any, **options: Any) -> None:
        super().__init__(parent, **options)
        self.timers: list[Any] = []
        self.ask = partial(ask_for_jobs, parent)

    def start(self, parent: Any) -> None:
        if kombu.VERSION < (5, 7):
            parent.hub.on_tick.add(self.ask)
        every = min(10, max(1, visibility_seconds(os.environ) / 2))
        self.timers = [parent.timer.call_repeatedly(every, restore_lost_jobs, (parent,))]
        if name := os.environ.get("HEARTBEAT_FILE"):
            touch = partial(beat, parent.app.heartbeat_store, Path(name))
            touch()
            self.timers.append(parent.timer.call_repeatedly(HEARTBEAT_SECONDS, touch))

    def stop(self, parent: Any) -> None:
        parent.hub.on_tick.discard(self.ask)
        for timer in self.timers:
            timer.cancel()


def keep_house(app: Celery, store: RedisStore) -> None:
    """Give a worker its housekeeping."""
    if kombu.VERSION < (5, 3):
        Channel.connection_class = Connection
    worker: Any = app
    worker.heartbeat_store = store
    worker.steps["consumer"].add(Housekeeping)
