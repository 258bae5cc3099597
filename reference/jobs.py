"""Jobs: put in through the API, done by a worker, their results read back."""

from __future__ import annotations

import json
import logging
import time
import unicodedata
import uuid

from flask import Flask, Response, jsonify, request
from werkzeug.exceptions import NotFound, ServiceUnavailable

from reference.metrics import JOB_DURATION, JOB_QUALITY, JOBS
from reference.queues import Queue
from reference.stores import Database, S3Store, StoreError
from reference.stores.base import Job
from reference.validation import valid_number, valid_text

TEXT_LENGTH = 2000
# Pigmeu's document, in seconds.
SOFT_TIME_LIMIT = 1500
PROCESS_SECONDS = 10

logger = logging.getLogger("reference")


def add_job_routes(
    app: Flask, database: Database | None, queue: Queue | None, objects: S3Store | None
) -> None:
    """POST /jobs and GET /jobs/<id>, and POST /process, which needs no worker."""

    @app.post("/jobs")
    def add_job() -> tuple[Response, int]:
        """Put a job into the queue."""
        if database is None or queue is None:
            raise ServiceUnavailable("jobs need a queue (REDIS_URL, RABBITMQ_URL) and a database")
        body = request.get_json(silent=True)
        text = valid_text(body, "text", TEXT_LENGTH)
        seconds = valid_number(body, "seconds", SOFT_TIME_LIMIT) or 0
        job = database.add_job(uuid.uuid4().hex, text, seconds)
        try:
            queue.put(job)
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
        if job.result is None and objects and queue and queue.apart:
            job = collect(database, objects, job)
        return jsonify(job.as_json())

    @app.post("/process")
    def process() -> Response:
        """Do a job at once."""
        body = request.get_json(silent=True)
        text = valid_text(body, "text", TEXT_LENGTH)
        seconds = valid_number(body, "seconds", PROCESS_SECONDS) or 0
        with JOB_DURATION.labels("process").time():
            time.sleep(seconds)
            result = analyse(text, "process")
        JOBS.labels("process", "done").inc()
        return jsonify(result)


def analyse(text: str, kind: str) -> dict[str, object]:
    """The work itself. Its quality is the share of characters that are no symbols."""
    readable = sum(unicodedata.category(letter)[0] in "LNPZ" for letter in text)
    quality = round(readable / len(text), 2)
    JOB_QUALITY.labels(kind).observe(quality)
    return {"characters": len(text), "upper": text.upper(), "quality": quality}


def collect(database: Database, objects: S3Store, job: Job) -> Job:
    """The job with the result that a worker, who has another database, left as an object."""
    content = objects.get(_key(job.id))
    if content is None:
        return job
    result = json.loads(content)
    database.begin_job(job.id, result["worker"])
    database.finish_job(job.id, result["worker"], result)
    return database.job(job.id) or job


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
        JOBS.labels("job", "repeated").inc()
        return False
    with JOB_DURATION.labels("job").time():
        time.sleep(job.seconds)
        result = analyse(job.text, "job")
        if objects:
            key = _key(job_id)
            result["object"] = key
            objects.put(key, json.dumps({**result, "worker": worker}).encode())
        recorded = database.finish_job(job_id, worker, result)
    JOBS.labels("job", "done" if recorded else "repeated").inc()
    logger.info("job %s is %s", job_id, "done" if recorded else "done by another worker")
    return recorded


def _key(job_id: str) -> str:
    return f"jobs/{job_id}.json"
