"""The engines that a store may name. Another one is one file and one line here."""

from pulumi_tiers.engines.base import Backup, Consumer, Engine, Reached, Scaler
from pulumi_tiers.engines.elasticsearch import Elasticsearch
from pulumi_tiers.engines.minio import Minio
from pulumi_tiers.engines.mongo import Mongo
from pulumi_tiers.engines.mssql import Mssql
from pulumi_tiers.engines.postgres import Postgres
from pulumi_tiers.engines.rabbitmq import Rabbitmq
from pulumi_tiers.engines.redis import Redis

ENGINES: dict[str, Engine] = {
    engine.name: engine
    for engine in (
        *(Postgres(), Redis(), Mongo(), Minio()),
        *(Mssql(), Rabbitmq(), Elasticsearch()),
    )
}

__all__ = ["ENGINES", "Backup", "Consumer", "Engine", "Reached", "Scaler"]
