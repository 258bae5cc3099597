"""What the image runs: the API, or with WORKER_CONCURRENCY a worker."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

from reference import metrics
from reference.log import log_level
from reference.queues import broker
from reference.stores import RabbitStore, discover

WORKER = "src.workers.worker"


def command(environment: Mapping[str, str]) -> list[str]:
    """The program and its arguments."""
    concurrency = environment.get("WORKER_CONCURRENCY")
    if not concurrency:
        configuration = Path(__file__).with_name("gunicorn.conf.py")
        return ["gunicorn", "--config", str(configuration)]
    if not concurrency.isdecimal() or int(concurrency) < 1:
        sys.exit(f"WORKER_CONCURRENCY is {concurrency!r}, not a number of jobs at a time")
    if isinstance(broker(discover(environment)), RabbitStore):
        return [sys.executable, "-m", "reference.rabbit_worker"]
    level = log_level(environment) or "INFO"
    return ["celery", "-A", WORKER, "worker", f"--loglevel={level}", f"--concurrency={concurrency}"]


def start() -> None:
    """Become that program, which then gets this process's signals."""
    program = command(os.environ)
    metrics.empty_folder(os.environ)
    os.execvp(program[0], program)  # noqa: S606


if __name__ == "__main__":
    start()
