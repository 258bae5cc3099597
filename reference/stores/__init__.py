"""The stores that the reference workload uses, found in the environment."""

from __future__ import annotations

from collections.abc import Mapping

from reference.stores.base import BrokenStore, Database, Store, StoreError, value
from reference.stores.mongo import MongoStore
from reference.stores.postgres import PostgresStore
from reference.stores.redis import RedisStore
from reference.stores.s3 import S3Store

# A URL's scheme (what stands after a "+" is a driver's name) and the class that uses such a store.
SCHEMES: dict[str, type[Store]] = {
    "mongodb": MongoStore,
    "postgres": PostgresStore,
    "postgresql": PostgresStore,
    "redis": RedisStore,
    "rediss": RedisStore,
}


def discover(environment: Mapping[str, str]) -> dict[str, Store]:
    """Every store that a *_URL or *_URI names, under the variable's name, and S3_ENDPOINT's.

    Any of them may be in a file instead, whose path is in the variable's name and _FILE.
    """
    stores: dict[str, Store] = {}
    for name in sorted({name.removesuffix("_FILE") for name in environment}):
        try:
            if name.endswith(("_URL", "_URI")):
                url = value(environment, name)
                scheme, separator, _ = url.partition("://")
                store = SCHEMES.get(scheme.partition("+")[0].lower())
                if separator and store:
                    stores[name] = store(url, environment)
            elif name == "S3_ENDPOINT" and value(environment, name):
                stores[name] = S3Store(environment)
        except StoreError as error:
            stores[name] = BrokenStore(error)
    return stores


def database(stores: Mapping[str, Store]) -> Database | None:
    """Where events and jobs are kept: PostgreSQL, else MongoDB."""
    found = [store for store in stores.values() if isinstance(store, Database)]
    return min(found, key=lambda store: isinstance(store, MongoStore), default=None)


def objects(stores: Mapping[str, Store]) -> S3Store | None:
    """Where objects are kept."""
    return next((store for store in stores.values() if isinstance(store, S3Store)), None)
