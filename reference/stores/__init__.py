"""The stores that the reference workload uses, found in the environment."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import quote

from reference.stores.base import BrokenStore, Database, Store, StoreError, value
from reference.stores.elasticsearch import ElasticsearchStore
from reference.stores.mongo import MongoStore
from reference.stores.mssql import MssqlStore
from reference.stores.postgres import PostgresStore
from reference.stores.rabbitmq import RabbitStore
from reference.stores.redis import RedisStore
from reference.stores.s3 import S3Store

# A URL's scheme (what stands after a "+" is a driver's name) and the class that uses such a store.
SCHEMES: dict[str, type[Store]] = {
    "amqp": RabbitStore,
    "amqps": RabbitStore,
    "mongodb": MongoStore,
    "mssql": MssqlStore,
    "postgres": PostgresStore,
    "postgresql": PostgresStore,
    "redis": RedisStore,
    "rediss": RedisStore,
    "sqlserver": MssqlStore,
}
# Events and jobs are kept in the first of these.
DATABASES: tuple[type[Database], ...] = (PostgresStore, MssqlStore, MongoStore)


def discover(environment: Mapping[str, str]) -> dict[str, Store]:
    """Every store that a *_URL or *_URI names, under the variable's name, and S3_ENDPOINT's.

    Any of them may be in a file instead, whose path is in the variable's name and _FILE. What is
    given in parts only, such as POSTGRES_HOST, is found under the URL's name.
    """
    stores: dict[str, Store] = {}
    for name, parts in PARTS.items():
        if not any(environment.get(key) for key in (name, f"{name}_FILE")):
            try:
                if url := parts(environment):
                    environment = {**environment, name: url}
            except StoreError as error:
                stores[name] = BrokenStore(error)
    for name in sorted({name.removesuffix("_FILE") for name in environment}):
        try:
            if name == "S3_ENDPOINT":
                if value(environment, name):
                    stores[name] = S3Store(environment)
            elif name.endswith(("_URL", "_URI")):
                url = value(environment, name)
                store = _store_of(name, url)
                if store:
                    stores[name] = store(url, environment)
        except StoreError as error:
            stores[name] = BrokenStore(error)
    return stores


def _store_of(name: str, url: str) -> type[Store] | None:
    scheme, separator, _ = url.partition("://")
    if name == "ELASTICSEARCH_URL" and scheme in {"http", "https"}:
        return ElasticsearchStore
    return SCHEMES.get(scheme.partition("+")[0].lower()) if separator else None


def database(stores: Mapping[str, Store]) -> Database | None:
    """Where events and jobs are kept: PostgreSQL, else SQL Server, else MongoDB."""
    found = [store for store in stores.values() if isinstance(store, Database)]
    kinds = [*DATABASES, Database]
    return min(
        found,
        key=lambda store: next(n for n, kind in enumerate(kinds) if isinstance(store, kind)),
        default=None,
    )


def objects(stores: Mapping[str, Store]) -> S3Store | None:
    """Where objects are kept."""
    return next((store for store in stores.values() if isinstance(store, S3Store)), None)


def _postgres(environment: Mapping[str, str]) -> str:
    mode = value(environment, "POSTGRES_SSLMODE")
    return _url(environment, "postgresql", "POSTGRES", "DB", f"?sslmode={mode}" if mode else "")


def _rabbitmq(environment: Mapping[str, str]) -> str:
    return _url(environment, "amqp", "RABBITMQ", "VHOST")


def _url(
    environment: Mapping[str, str], scheme: str, prefix: str, path: str, query: str = ""
) -> str:
    """A URL of its documented parts; "" where there is no <prefix>_HOST."""
    host = value(environment, f"{prefix}_HOST")
    if not host:
        return ""
    needed = {name: value(environment, f"{prefix}_{name}") for name in ("USER", "PASSWORD")}
    missing = [f"{prefix}_{name}" for name, found in needed.items() if not found]
    if missing:
        raise StoreError(f"{prefix}_HOST is set; not set: {', '.join(missing)}")
    port = value(environment, f"{prefix}_PORT")
    user, password = (quote(text, safe="") for text in needed.values())
    end = quote(value(environment, f"{prefix}_{path}"), safe="")
    return f"{scheme}://{user}:{password}@{host}{port and f':{port}'}/{end}{query}"


def _minio(environment: Mapping[str, str]) -> str:
    host = value(environment, "MINIO_HOST")
    return f"http://{host}:{value(environment, 'MINIO_PORT') or 9000}" if host else ""


# What OColecionador's document gives in parts, and the variable with the URL that goes before them.
PARTS = {"DATABASE_URL": _postgres, "RABBITMQ_URL": _rabbitmq, "S3_ENDPOINT": _minio}
