"""What computing with models needs beside a workload: GPUs and the models' files."""

import re
from typing import Annotated

from pydantic import AfterValidator, Field, model_validator

from pulumi_tiers.model.base import AbsolutePath, Flag, Model, Name, StorageSize, Whole, Word
from pulumi_tiers.model.errors import reject, reject_all, shown
from pulumi_tiers.model.image import ImageReference


class Sharing(Word):
    """Whether others may compute on the same GPU at the same time."""

    EXCLUSIVE = "exclusive"
    SHARED = "shared"


_KIND = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")


def _kind(value: str) -> str:
    if not _KIND.fullmatch(value):
        raise reject(
            f"{shown(value)} is not the value of a node's label",
            "write the label nvidia.com/gpu.product as the nodes have it, such as 'NVIDIA-L4'",
        )
    return value


class Gpu(Model):
    """NVIDIA GPUs of a workload."""

    count: Annotated[Whole, Field(ge=1, le=16)] = 1
    #: Docker: their numbers, as nvidia-smi counts them. Default: the first `count`.
    devices: list[Annotated[Whole, Field(ge=0, le=63)]] = []
    #: Docker knows no owners of GPUs: `exclusive` ones are refused where two workloads of a stack
    #: would have the same (OC-30). Kubernetes gives each GPU to one container only.
    sharing: Sharing = Sharing.EXCLUSIVE
    #: Kubernetes: only on nodes whose label ``nvidia.com/gpu.product`` is this.
    kind: Annotated[str, AfterValidator(_kind)] | None = None

    @model_validator(mode="after")
    def _consistent(self) -> "Gpu":
        if self.devices and len(set(self.devices)) != self.count:
            why = f"these are {len(set(self.devices))} GPUs, and 'count' is {self.count}"
            reject_all([(("devices",), why, "give as many different ones as 'count' says")])
        return self

    @property
    def numbers(self) -> list[int]:
        """Docker: those that it gets."""
        return self.devices or list(range(self.count))


_VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")


def _version(value: str) -> str:
    if not _VERSION.fullmatch(value):
        raise reject(
            f"{shown(value)} is not the name of a version",
            "use letters, digits, '.', '_' and '-', such as 'v2'",
        )
    return value


ModelVersion = Annotated[str, AfterValidator(_version)]
"""The name of a model's version: a folder's name."""


class MlModel(Model):
    """The files of a trained model: ``<target>/<version>`` in the container.

    In the bucket they are the objects ``<name>/<version>/...``, with ``SHA256SUMS`` beside them as
    sha256sum writes it: they are fetched and checked before the workload starts. Without a bucket
    they are whatever somebody put into the volume ``<workload>-models``, checked all the same.
    """

    version: ModelVersion
    #: The folder of all versions.
    target: AbsolutePath = "/app/models"
    #: The store with the bucket.
    store: Name | None = None
    bucket: Name | None = None
    #: With `mc`, sh and sha256sum. Default: the pinned image of MinIO.
    image: ImageReference | None = None
    #: Of the volume.
    size: StorageSize = "5Gi"
    #: Start without it where it isn't there yet. What is there is checked all the same.
    optional: Flag = False
