"""Jobs: put in through the API, done by a worker, their results read back."""

from __future__ import annotations

import json
import logging
import time
import uuid

from flask import Flask, Response, jsonify, request
from werkzeug.exceptions import NotFound, ServiceUnavailable

from reference.celery_queue import SOFT_TIME_LIMIT, Queue
from reference.stores import Database, S3Store, StoreError
from reference.validation import valid_number, valid_text

TEXT_LENGTH = 2000

logger = logging.getLogger("reference")


def add_job_routes(app: Flask, database: Database | None, queue: Queue | None) -> None:
    """POST /jobs and GET /jobs/<id>."""

    @app.post("/jobs")
    def add_job() -> tuple[Response, int]:
        """Put a job into the queue."""
        if database is None or queue is None:
            raise ServiceUnavailable("jobs need a queue (REDIS_URL) and a database")
        body = request.get_json(silent=True)
        text = valid_text(body, "text", TEXT_LENGTH)
        seconds = valid_number(body, "seconds", SOFT_TIME_LIMIT) or 0
        job = database.add_job(uuid.uuid4().hex, text, seconds)
        try:
            queue.put(job.id)
        except StoreError:
            database.remove_job(job.id)
            raise
        return jsonify(job.as_json()), 202

    @app.get("/jobs/<job_id>")
    def get_job(job_id: str) -> Response:
        """Show a job, with its result once it is done."""
        if database is None:
            raise ServiceUnavailable("jobs need a database")
        job = database.job(job_id)
        if job is None:
            raise NotFound("no such job")
        return jsonify(job.as_json())


def work(database: Database, objects: S3Store | None, job_id: str, worker: str) -> bool:
    """Do a job, again if need be; whether this call recorded its result.

    The queue gives a job to another worker when it has lost sight of the first, so any job may be
    done twice, also at the same time.
    """
    job = database.begin_job(job_id, worker)
    if job is None:
        logger.warning("there is no job %s", job_id)
        return False
    if job.result is not None:
        logger.info("job %s is done already", job_id)
        return False
    time.sleep(job.seconds)
    result: dict[str, object] = {"characters": len(job.text), "upper": job.text.upper()}
    if objects:
        key = f"jobs/{job_id}.json"
        objects.put(key, json.dumps(result).encode())
        result["object"] = key
    recorded = database.finish_job(job_id, worker, result)
    logger.info("job %s is %s", job_id, "done" if recorded else "done by another worker")
    return recorded
