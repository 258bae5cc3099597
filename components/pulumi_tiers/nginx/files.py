"""What the container gets besides nginx.conf."""

from collections.abc import Mapping
from pathlib import Path

from pulumi_tiers.nginx.base import Address

_FOLDER = Path(__file__).parent


def start_script() -> str:
    """What runs in the container: nginx, and what reloads it."""
    return (_FOLDER / "start.sh").read_text(encoding="utf-8")


def renew_script() -> str:
    """What gets certificates from an ACME server, and renews them."""
    return (_FOLDER / "renew.sh").read_text(encoding="utf-8")


def addresses_file(addresses: Mapping[str, Address]) -> str:
    """What `start.sh` resolves, again and again: ``upstream host port`` in each line."""
    return "".join(
        f"{name} {address.host} {address.port}\n" for name, address in sorted(addresses.items())
    )
