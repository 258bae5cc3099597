"""All that watches one system, as workloads."""

from pulumi_tiers.model.observability import Observability
from pulumi_tiers.model.system import System, Target
from pulumi_tiers.model.workload import Workload


def observability_workloads(
    system: System, observability: Observability, target: Target
) -> dict[str, Workload]:
    """What watches the system, by host name. Texts refer to the system's stores."""
    del system, observability, target
    return {}
