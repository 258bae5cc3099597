"""The engines that a store may name. Another one is one file and one line here."""

from pulumi_tiers.engines.base import Backup, Consumer, Engine
from pulumi_tiers.engines.postgres import Postgres

ENGINES: dict[str, Engine] = {engine.name: engine for engine in (Postgres(),)}

__all__ = ["ENGINES", "Backup", "Consumer", "Engine"]
