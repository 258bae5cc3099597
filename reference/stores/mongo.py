"""MongoDB and what speaks its protocol."""

from __future__ import annotations

import secrets
from collections.abc import Generator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

from pymongo import ASCENDING, DESCENDING, MongoClient, ReturnDocument
from pymongo.database import Database as MongoDatabase
from pymongo.errors import ConfigurationError, InvalidURI, PyMongoError

from reference.stores.base import Database, Event, Job, StoreError

# Pigmeu's document: the indexes of the collection `submissions`, and whether they are unique.
INDEXES = {"amazon_url": True, "status": False, "created_at": False}

Document = dict[str, Any]


class MongoStore(Database):
    """Events and jobs are documents of the collections `events` and `jobs`.

    The database is the one in the URL's path, else MONGO_DB_NAME.
    """

    engine = "mongo"
    example = "mongodb://user:password@host:27017/database"

    def check(self) -> None:
        """Insert a document, find it and delete it."""
        key = {"_id": secrets.token_hex(8)}
        with self._database() as database:
            database["checks"].insert_one(dict(key))
            found = database["checks"].find_one(key)
            database["checks"].delete_one(key)
        if found != key:
            raise StoreError("wrote a document and found another one")

    def migrate(self) -> list[str]:
        """Creating an index that is there does nothing."""
        with self._database() as database:
            for field, unique in INDEXES.items():
                database["submissions"].create_index([(field, ASCENDING)], unique=unique)
        return [
            f"the index {field}{' (unique)' if unique else ''} of submissions is there"
            for field, unique in INDEXES.items()
        ]

    def add(self, title: str) -> Event:
        """Insert a document."""
        document: Document = {"title": title, "created_at": _now()}
        with self._database() as database:
            database["events"].insert_one(document)
        return _event(document)

    def newest(self, limit: int) -> list[Event]:
        """Find the last documents."""
        with self._database() as database:
            order = [("created_at", DESCENDING), ("_id", DESCENDING)]
            return [_event(found) for found in database["events"].find().sort(order).limit(limit)]

    def add_job(self, job_id: str, text: str, seconds: float) -> Job:
        """Insert a document with all of a job's fields."""
        document: Document = {
            "_id": job_id,
            "text": text,
            "seconds": seconds,
            "attempts": 0,
            "worker": None,
            "result": None,
            "created_at": _now(),
            "finished_at": None,
        }
        with self._database() as database:
            database["jobs"].insert_one(document)
        return _job(document)

    def remove_job(self, job_id: str) -> None:
        """Delete the document."""
        with self._database() as database:
            database["jobs"].delete_one({"_id": job_id})

    def job(self, job_id: str) -> Job | None:
        """Find the document."""
        with self._database() as database:
            document = database["jobs"].find_one({"_id": job_id})
        return _job(document) if document else None

    def begin_job(self, job_id: str, worker: str) -> Job | None:
        """Each update is atomic, so that two workers count two attempts."""
        count = {"$inc": {"attempts": 1}}
        with self._database() as database:
            document = database["jobs"].find_one_and_update(
                {"_id": job_id, "result": None},
                {**count, "$set": {"worker": worker}},
                return_document=ReturnDocument.AFTER,
            ) or database["jobs"].find_one_and_update(
                {"_id": job_id}, count, return_document=ReturnDocument.AFTER
            )
        return _job(document) if document else None

    def finish_job(self, job_id: str, worker: str, result: dict[str, object]) -> bool:
        """One update, so that one of two workers records its result."""
        with self._database() as database:
            done = database["jobs"].update_one(
                {"_id": job_id, "result": None},
                {"$set": {"result": result, "worker": worker, "finished_at": _now()}},
            )
        return done.modified_count == 1

    def job_texts(self, limit: int) -> list[str]:
        """Find the last documents' texts."""
        with self._database() as database:
            found = database["jobs"].find().sort([("created_at", DESCENDING)]).limit(limit)
            return [document["text"] for document in found]

    @contextmanager
    def _database(self) -> Generator[MongoDatabase[Document]]:
        database = self._open
        try:
            yield database
        except PyMongoError as error:
            raise self.failure(error) from None

    @cached_property
    def _open(self) -> MongoDatabase[Document]:
        """It connects when it is used, and follows the elections of a replica set."""
        milliseconds = self.timeout_seconds * 1000
        try:
            client: MongoClient[Document] = MongoClient(
                self.url,
                serverSelectionTimeoutMS=milliseconds,
                connectTimeoutMS=milliseconds,
                socketTimeoutMS=milliseconds,
                tz_aware=True,
            )
        except (InvalidURI, ValueError):
            raise self.unreadable() from None
        except PyMongoError as error:
            raise self.failure(error) from None
        try:
            return client.get_default_database(self.environment.get("MONGO_DB_NAME") or None)
        except ConfigurationError:
            raise StoreError("no database: name one in the URL's path or MONGO_DB_NAME") from None


def _now() -> datetime:
    """MongoDB keeps milliseconds."""
    now = datetime.now(UTC)
    return now.replace(microsecond=now.microsecond // 1000 * 1000)


def _event(document: Document) -> Event:
    return Event(str(document["_id"]), document["title"], document["created_at"])


def _job(document: Document) -> Job:
    return Job(
        id=document["_id"],
        **{field: kept for field, kept in document.items() if field != "_id"},
    )
