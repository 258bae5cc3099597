"""Which service somebody means: `worker`, `shop/worker`, `shop worker`."""

from collections.abc import Collection, Sequence

from pulumi_tiers.cli.console import EXIT_INPUT, Stop
from pulumi_tiers.model.errors import nearest

Known = Collection[tuple[str, str]]
"""System and service."""


def lookup(asked: str, known: Known, proposed: Known = ()) -> tuple[str, str]:
    """System and service of that name. Raises Stop.

    Documents repeat the system in a service's name (`ocolecionadortraining`): behind the system
    itself, the rest is enough (`ocolecionador/training`). `proposed`: those that a message names;
    all, unless given.
    """
    found = {item for item in known if asked in (item[1], "/".join(item))} or {
        (system, service)
        for system, service in known
        if service != system and asked == f"{system}/{service.removeprefix(system)}"
    }
    if not found:
        whole = "/" in asked
        named = proposed or known
        names = {f"{system}/{service}" if whole else service for system, service in named}
        raise Stop(f"there is no service '{asked}': {nearest(asked, names)}", EXIT_INPUT)
    if len(found) > 1:
        names = ", ".join(f"{system}/{service}" for system, service in sorted(found))
        raise Stop(f"'{asked}' stands in several systems; write one of {names}", EXIT_INPUT)
    return found.pop()


def in_one_word(asked: str, command: Sequence[str], known: Known) -> tuple[str, Sequence[str]]:
    """`ocolecionador training` as `ocolecionador/training`, and what is left of the command."""
    systems, services = {system for system, _ in known}, {service for _, service in known}
    if command and asked in systems - services:
        return f"{asked}/{command[0]}", command[1:]
    return asked, command
