"""The engines that a store may name. Another one is one file and one line here."""

from pulumi_tiers.engines.base import Backup, Consumer, Engine
from pulumi_tiers.engines.minio import Minio
from pulumi_tiers.engines.mongo import Mongo
from pulumi_tiers.engines.postgres import Postgres
from pulumi_tiers.engines.redis import Redis

ENGINES: dict[str, Engine] = {
    engine.name: engine for engine in (Postgres(), Redis(), Mongo(), Minio())
}

__all__ = ["ENGINES", "Backup", "Consumer", "Engine"]
