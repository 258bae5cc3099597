"""StateBucket: where Pulumi keeps the state of stacks, on DigitalOcean's Spaces."""

from typing import NotRequired, TypedDict

import pulumi

from pulumi_tiers.component import Component, refuse, validated
from pulumi_tiers.model.base import Flag, Model
from pulumi_tiers.model.cloud import SPACES_NAMING, Region, SpacesName, is_spaces_name
from pulumi_tiers.model.errors import Mistake


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
    name: SpacesName | None = None
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
        if not is_spaces_name(bucket):
            why = f"the bucket would be called '{bucket}', after the stack and the component"
            refuse([Mistake(kind, why, f"give a 'name': {SPACES_NAMING}")])
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
