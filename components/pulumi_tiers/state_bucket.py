"""StateBucket: where Pulumi keeps the state of stacks, on DigitalOcean's Spaces."""

import re
from typing import Annotated, NotRequired, TypedDict

import pulumi
from pydantic import AfterValidator

from pulumi_tiers.component import Component, refuse, validated
from pulumi_tiers.model.base import Flag, Model
from pulumi_tiers.model.cloud import Region
from pulumi_tiers.model.errors import Mistake, reject, shown

_BUCKET = re.compile(r"[a-z0-9]([a-z0-9-]{1,61}[a-z0-9])")
_NAMING = "use 3 to 63 lower-case letters, digits and hyphens, without a hyphen at either end"


def _bucket(value: str) -> str:
    if not _BUCKET.fullmatch(value):
        raise reject(f"{shown(value)} is not a name for a bucket", _NAMING)
    return value


class StateBucketArgs(TypedDict):
    """Arguments of StateBucket."""

    region: NotRequired[str]
    """Slug of the region; of one without Spaces, the nearest that has them. Default: nyc3."""
    name: NotRequired[str]
    """Name of the bucket: it must be free in the whole region. Default: stack and component."""
    versioning: NotRequired[bool]
    """Keep what is overwritten or deleted for 90 days. Default: true."""
    protect: NotRequired[bool]
    """Refuse to delete or replace the bucket. Default: true."""


class StateBucketSpec(Model):
    """StateBucketArgs, checked."""

    region: Region = "nyc3"
    name: Annotated[str, AfterValidator(_bucket)] | None = None
    versioning: Flag = True
    protect: Flag = True


class StateBucket(Component):
    """A private bucket for the state of stacks, and a key that opens no other one.

    DigitalOcean makes buckets through another API, with a key of its own: the provider needs
    ``SPACES_ACCESS_KEY_ID`` and ``SPACES_SECRET_ACCESS_KEY``, beside the token.
    """

    bucket: pulumi.Output[str]
    """Name of the bucket."""
    backend_url: pulumi.Output[str]
    """For ``pulumi login`` and ``PULUMI_BACKEND_URL``. Nothing in it is secret."""
    access_key_id: pulumi.Output[str]
    """The key's name, for ``AWS_ACCESS_KEY_ID``."""
    secret_access_key: pulumi.Output[str]
    """The key, for ``AWS_SECRET_ACCESS_KEY``."""

    def __init__(
        self, name: str, args: StateBucketArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        kind = f"StateBucket {name}"
        spec = validated(StateBucketSpec, args, kind)
        bucket = spec.name or f"{pulumi.get_stack()}-{name}"
        if not _BUCKET.fullmatch(bucket):
            why = f"the bucket would be called '{bucket}', after the stack and the component"
            refuse([Mistake(kind, why, f"give a 'name': {_NAMING}")])
        super().__init__(name, opts)
        from pulumi_tiers.platforms.digitalocean import make_state_bucket

        made = make_state_bucket(
            self, bucket, spec.region, versioning=spec.versioning, protect=spec.protect
        )
        self.bucket = made.bucket
        self.backend_url = made.backend_url
        self.access_key_id = made.access_key_id
        self.secret_access_key = made.secret_access_key
        self.register_outputs(
            {
                "bucket": self.bucket,
                "backendUrl": self.backend_url,
                "accessKeyId": self.access_key_id,
                "secretAccessKey": self.secret_access_key,
            }
        )
