"""Values as Kubernetes writes them."""

import math

import pulumi

from pulumi_tiers.model.base import seconds, size_in_bytes


def literal(text: pulumi.Input[str]) -> pulumi.Input[str]:
    """The text written so that it means itself: Kubernetes would expand $(NAME) and halve $$."""
    if isinstance(text, str):
        return text.replace("$", "$$")
    return pulumi.Output.from_input(text).apply(lambda known: known.replace("$", "$$"))


def quantity(size: str) -> str:
    """A size in Compose's spelling as Kubernetes writes it."""
    count = int(size) if size.isdecimal() else size_in_bytes(size)
    return str(count) if count % 1024**2 else f"{count // 1024**2}Mi"


def cpus_of(cpus: float) -> str:
    """A number of CPUs in thousandths."""
    return f"{max(1, round(cpus * 1000))}m"


def whole_seconds(duration: str) -> int:
    """Probes know neither parts of a second nor zero."""
    return max(1, math.ceil(seconds(duration)))
