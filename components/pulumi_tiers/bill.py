"""Bill: what the resources of a running program cost, for its outputs."""

import re
from collections.abc import Mapping
from typing import Any, TypedDict

import pulumi

from pulumi_tiers.prices import Price, price, total

_DECIDING = {
    "digitalocean": (
        "auto_scale",
        "engine",
        "ha",
        "max_nodes",
        "min_nodes",
        "node_count",
        "node_pool",
        "size",
        "size_unit",
        "storage_size_mib",
        "subscription_tier_slug",
        "type",
        "version",
    ),
    "kubernetes": (
        "metadata.annotations",
        "spec.replicas",
        "spec.resources",
        "spec.type",
        "spec.volume_claim_templates",
    ),
}
"""The inputs that prices depend on, by package. Others may be unknown in a preview."""


class MonthlyPrice(TypedDict):
    """What a stack costs a month."""

    usd: float
    """USD. With autoscaling: of the fewest nodes."""
    most: float
    """The same with all nodes that autoscaling may add."""
    complete: bool
    """False: there are resources without a price, so it costs more."""
    resources: dict[str, str]
    """By type and name: ``48.00 USD: 2 nodes s-2vcpu-4gb``."""


class Bill:
    """Sees every resource that the program registers from now on."""

    def __init__(self) -> None:
        self._seen: list[tuple[str, str, dict[str, Any]]] = []
        pulumi.runtime.register_stack_transformation(self._see)

    def _see(self, args: pulumi.ResourceTransformationArgs) -> None:
        inputs: dict[str, Any] = {}
        for path in _DECIDING.get(args.type_.partition(":")[0], ()):
            key, _, inner = path.partition(".")
            value = args.props.get(key)
            if inner:
                found = value.get(inner) if isinstance(value, Mapping) else None
                inputs.setdefault(key, {})[inner] = found
            else:
                inputs[key] = value
        self._seen.append((args.name, args.type_, inputs))

    def monthly_price(self, known: Mapping[str, float]) -> pulumi.Output[MonthlyPrice]:
        """What was seen until now costs this. `known`: as in `prices.price`."""

        def added(seen: list[list[Any]]) -> MonthlyPrice:
            prices: dict[str, Price] = {}
            for name, kind, inputs in sorted(seen, key=lambda item: item[:2]):
                cost = price(kind, _camel(inputs), known)
                if cost:
                    prices[f"{kind.rpartition(':')[2]} {name}"] = cost
            sum_ = total(prices.values())
            return {
                "usd": sum_.usd,
                "most": sum_.most,
                "complete": sum_.complete,
                "resources": {name: _line(cost) for name, cost in prices.items()},
            }

        return pulumi.Output.from_input([list(item) for item in self._seen]).apply(added)


def _line(cost: Price) -> str:
    return f"{cost.amount}{'' if cost.usd is None else ' USD'}: {cost.what}"


def _camel(value: Any) -> Any:
    """The inputs with the provider's own names, as the recorder has them."""
    if isinstance(value, Mapping):
        return {
            re.sub(r"_(\w)", lambda match: match[1].upper(), str(key)): _camel(item)
            for key, item in value.items()
        }
    return [_camel(item) for item in value] if isinstance(value, list) else value
