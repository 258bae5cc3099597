"""The documented systems. Another one is one module and one line here."""

from collections.abc import Callable

from pulumi_tiers.model.system import Environment, System
from pulumi_tiers.systems.encontros_tech import encontros_tech
from pulumi_tiers.systems.nutrifitcoach import nutrifitcoach
from pulumi_tiers.systems.ocolecionador import ocolecionador
from pulumi_tiers.systems.pigmeu import pigmeu
from pulumi_tiers.systems.vision import vision

SYSTEMS: dict[str, Callable[[Environment], System]] = {
    "ocolecionador": ocolecionador,
    "vision": vision,
    "nutrifitcoach": nutrifitcoach,
    "pigmeu": pigmeu,
    "encontros-tech": encontros_tech,
}

__all__ = ["SYSTEMS"]
