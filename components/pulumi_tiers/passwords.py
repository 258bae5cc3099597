"""Secrets that nobody has to invent: generated once, unless a stack or a program sets them."""

import json

import pulumi
from pulumi.runtime import config

from pulumi_tiers.component import Component, RefusedError, refuse
from pulumi_tiers.model.errors import Mistake
from pulumi_tiers.platforms.base import SiteRef, system_of

_PLACE = "tiers:secrets"
_REMEDY = "set each with: pulumi config set --secret --path 'tiers:secrets[\"...\"]'"


class Passwords:
    """The secrets of one component, each made once."""

    def __init__(self, owner: Component, site: SiteRef, configured: dict[str, str]) -> None:
        self._owner = owner
        self._protect = site.get("protect", False)
        self._system = system_of(site)
        self._configured = configured
        self._made: dict[str, pulumi.Output[str]] = {}

    def of(self, name: str) -> pulumi.Output[str]:
        """The system's own secret of this name, such as ``JWT_SECRET``."""
        suffix = f"{name.lower().replace('_', '-')}-secret"
        return self.make(suffix, f"{self._system}/{name}")

    def make(
        self,
        suffix: str,
        key: str,
        given: pulumi.Input[str] | None = None,
        length: int = 32,
        *,
        mixed: bool = False,
    ) -> pulumi.Output[str]:
        """As given, else as `tiers:secrets` has it at this key, else generated.

        `mixed`: of a generated one, with a capital, a small letter and a digit at least.
        """
        if key not in self._made:
            known = given if given is not None else self._configured.get(key)
            self._made[key] = (
                self._generated(suffix, key, length, 1 if mixed else None)
                if known is None
                else pulumi.Output.secret(known)
            )
        return self._made[key]

    def _generated(
        self, suffix: str, key: str, length: int, least: int | None
    ) -> pulumi.Output[str]:
        import pulumi_random

        # Letters and digits: every client's URL and every shell take them as they are.
        generated = pulumi_random.RandomPassword(
            self._owner.child(suffix),
            length=length,
            special=False,
            min_upper=least,
            min_lower=least,
            min_numeric=least,
            # Whose it is, as `tiers:secrets` calls it.
            keepers={"for": key},
            # Without it, nobody opens what was written with it.
            opts=self._owner.child_options(protect=self._protect),
        )
        return generated.result


def configured() -> dict[str, str]:
    """What the stack's `tiers:secrets` has, as `secret_key` names it.

    In any program: `tiers up` puts the secrets there that the fallback has generated.
    Raises RefusedError.
    """
    try:
        secrets: object = json.loads(config.get_config(_PLACE) or "{}")
    except (ValueError, RecursionError):
        raise RefusedError([Mistake(_PLACE, "is not JSON", _REMEDY)]) from None
    # No message may repeat a value.
    if not isinstance(secrets, dict):
        raise RefusedError([Mistake(_PLACE, "is not a map of texts", _REMEDY)])
    refuse(
        Mistake(f"{_PLACE}.{key}", "is not a text", "put the secret into quotes")
        for key, value in secrets.items()
        if not isinstance(value, str)
    )
    return secrets
