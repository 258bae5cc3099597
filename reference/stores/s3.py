"""S3 and what speaks its protocol."""

from __future__ import annotations

import secrets
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from functools import cached_property
from typing import IO, Any

import boto3
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from reference.stores.base import Store, StoreError, value

ACCESS_SECONDS = 900
# A server may take its time to have a large object on its disk.
READ_SECONDS = 10
NEEDED = ("S3_ACCESS_KEY", "S3_SECRET_KEY", "S3_BUCKET")


class S3Store(Store):
    """A bucket, which must be there; addressed by path, as most servers other than AWS's need.

    A URL signed for the public endpoint is good for a client that reaches S3 only through an edge.
    """

    engine = "s3"
    example = "https://host:9000"

    def __init__(self, environment: Mapping[str, str]) -> None:
        super().__init__(value(environment, "S3_ENDPOINT"), environment)
        self.public_url = value(environment, "S3_PUBLIC_ENDPOINT") or self.url
        self.region = value(environment, "S3_REGION") or "us-east-1"
        needed = {name: value(environment, name) for name in NEEDED}
        missing = [name for name, found in needed.items() if not found]
        if missing:
            raise StoreError(f"not set: {', '.join(missing)}")
        self.access_key, self.secret_key, self.bucket = needed.values()

    def secrets(self) -> list[str]:
        """The access key names the account; it is nobody's business either."""
        return [self.secret_key, self.access_key]

    def check(self) -> None:
        """Put an object, get it and delete it."""
        key, written = f"checks/{secrets.token_hex(8)}", secrets.token_bytes(8)
        with self._client() as client:
            client.put_object(Bucket=self.bucket, Key=key, Body=written)
            found = client.get_object(Bucket=self.bucket, Key=key)["Body"].read()
            client.delete_object(Bucket=self.bucket, Key=key)
        if found != written:
            raise StoreError("wrote an object and read another one back")

    def put(self, key: str, content: bytes | IO[bytes]) -> None:
        """Keep an object: all of it, or nothing."""
        with self._client() as client:
            client.put_object(Bucket=self.bucket, Key=key, Body=content)

    def put_new(self, key: str, content: bytes) -> bool:
        """Keep an object unless there is one, of whoever else puts it at the same time too."""
        client = self._connect(self.url)
        # Older boto3 has no argument for it.
        client.meta.events.register("before-sign.s3.PutObject", _only_if_new)
        try:
            client.put_object(Bucket=self.bucket, Key=key, Body=content)
        except ClientError as error:
            # 409: another one is at it just now.
            if error.response["ResponseMetadata"]["HTTPStatusCode"] in (409, 412):
                return False
            raise self.failure(error) from None
        except BotoCoreError as error:
            raise self.failure(error) from None
        return True

    def get(self, key: str) -> bytes | None:
        """An object; None when there is none."""
        with self._client() as client:
            try:
                return client.get_object(Bucket=self.bucket, Key=key)["Body"].read()
            except ClientError as error:
                if error.response["Error"]["Code"] == "NoSuchKey":
                    return None
                raise

    def keys(self, prefix: str) -> list[str]:
        """The keys of all objects that begin so."""
        with self._client() as client:
            pages = client.get_paginator("list_objects_v2").paginate(
                Bucket=self.bucket, Prefix=prefix
            )
            return [found["Key"] for page in pages for found in page.get("Contents", [])]

    def size(self, key: str) -> int | None:
        """An object's size in bytes; None when there is none."""
        with self._client() as client:
            try:
                return client.head_object(Bucket=self.bucket, Key=key)["ContentLength"]
            except ClientError as error:
                if error.response["ResponseMetadata"]["HTTPStatusCode"] == 404:
                    return None
                raise

    def signed_put(self, key: str, size: int | None) -> str:
        """A public URL to which a client may put the object, of exactly this size if one is given.

        The size must be sent as Content-Length: it is signed.
        """
        parameters = {} if size is None else {"ContentLength": size}
        return self._signed("put_object", Key=key, **parameters)

    def signed_get(self, key: str) -> str:
        """A public URL from which a client may get the object."""
        return self._signed("get_object", Key=key)

    def _signed(self, operation: str, **parameters: object) -> str:
        with self._client(public=True) as client:
            return client.generate_presigned_url(
                operation, {"Bucket": self.bucket, **parameters}, ExpiresIn=ACCESS_SECONDS
            )

    @contextmanager
    def _client(self, *, public: bool = False) -> Generator[Any]:
        try:
            yield self._public if public else self._private
        except (BotoCoreError, ClientError, ValueError) as error:
            raise self.failure(error) from None

    @cached_property
    def _private(self) -> Any:
        return self._connect(self.url)

    @cached_property
    def _public(self) -> Any:
        return self._connect(self.public_url)

    @cached_property
    def _session(self) -> Any:
        """One for both clients: it keeps what it read of S3's description, which is large."""
        return boto3.session.Session()

    def _connect(self, endpoint: str) -> Any:
        return self._session.client(
            "s3",
            endpoint_url=endpoint,
            region_name=self.region,
            aws_access_key_id=self.access_key,
            aws_secret_access_key=self.secret_key,
            config=Config(
                signature_version="s3v4",
                s3={"addressing_style": "path"},
                connect_timeout=self.timeout_seconds,
                read_timeout=READ_SECONDS,
                retries={"mode": "standard", "total_max_attempts": 2},
            ),
        )


def _only_if_new(request: AWSRequest, **_: object) -> None:
    request.headers["If-None-Match"] = "*"
