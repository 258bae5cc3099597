"""The documented systems. Another one is one module and one line here."""

from collections.abc import Callable

from pulumi_tiers.model.system import Environment, System
from pulumi_tiers.systems.encontros_tech import encontros_tech

SYSTEMS: dict[str, Callable[[Environment], System]] = {"encontros-tech": encontros_tech}

__all__ = ["SYSTEMS"]
