"""The pipelines of the documented systems. Another one is one module and one line here."""

from collections.abc import Callable

from pulumi_tiers.model.pipeline import Pipeline, PipelineOptions
from pulumi_tiers.systems.pipelines.encontros_tech import encontros_tech
from pulumi_tiers.systems.pipelines.nutrifitcoach import nutrifitcoach
from pulumi_tiers.systems.pipelines.ocolecionador import ocolecionador
from pulumi_tiers.systems.pipelines.pigmeu import pigmeu
from pulumi_tiers.systems.pipelines.vision import vision

PIPELINES: dict[str, Callable[[PipelineOptions], Pipeline]] = {
    "ocolecionador": ocolecionador,
    "vision": vision,
    "nutrifitcoach": nutrifitcoach,
    "pigmeu": pigmeu,
    "encontros-tech": encontros_tech,
}

FUTURE = frozenset({"nutrifitcoach"})
"""Their documents call them future: off where a stack does not ask for them."""

__all__ = ["FUTURE", "PIPELINES"]
