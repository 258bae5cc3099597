"""Redis and what speaks its protocol."""

from __future__ import annotations

import secrets
from functools import cached_property

import redis

from reference.stores.base import Store, StoreError

CELERY_QUEUE = "celery"


class RedisStore(Store):
    """A key is set, read and deleted; the queue of jobs may live here, too."""

    engine = "redis"
    queue = CELERY_QUEUE
    example = "redis://:password@host:6379/0"

    def check(self) -> None:
        """The key would vanish by itself, if it could not be deleted."""
        key, written = f"reference:check:{secrets.token_hex(8)}", secrets.token_hex(8)
        client = self._client
        try:
            client.set(key, written, ex=60)
            found = client.get(key)
            client.delete(key)
        except redis.RedisError as error:
            raise self.failure(error) from None
        if found != written:
            raise StoreError("wrote a key and read another value back")

    def depth(self) -> int:
        """How many jobs wait in Celery's queue for somebody to take them."""
        client = self._client
        try:
            return int(client.llen(CELERY_QUEUE))
        except redis.RedisError as error:
            raise self.failure(error) from None

    @cached_property
    def _client(self) -> redis.Redis:
        """It connects when it is used, and again when the connection was lost."""
        self.split_url()
        try:
            return redis.Redis.from_url(
                self.url,
                socket_timeout=self.timeout_seconds,
                socket_connect_timeout=self.timeout_seconds,
                retry=None,  # whoever asks for the health will ask again
                decode_responses=True,
            )
        except (ValueError, TypeError):
            raise self.unreadable() from None
