"""Who brings a stack up on this machine."""

from enum import StrEnum


class Runner(StrEnum):
    """Who runs the stack."""

    AUTO = "auto"
    PULUMI = "pulumi"
    COMPOSE = "compose"
