"""The configuration of an edge's nginx, and the two scripts beside it: pure functions.

What stands here loads in nginx 1.22 (Debian 12) and in today's: nothing newer is used, and of
``listen ... http2``, which newer ones only advise against, and ``http2 on``, which older ones
refuse, the first. What only newer ones know, `start.sh` adds. Relative paths lead into the folder
that it makes.
"""

from pulumi_tiers.nginx.base import HEALTH, LOGS, Address, Facts, Ports
from pulumi_tiers.nginx.clients import divided
from pulumi_tiers.nginx.configuration import configuration
from pulumi_tiers.nginx.files import addresses_file, renew_script, start_script
from pulumi_tiers.nginx.snippets import snippet_clashes

__all__ = [
    "HEALTH",
    "LOGS",
    "Address",
    "Facts",
    "Ports",
    "addresses_file",
    "configuration",
    "divided",
    "renew_script",
    "snippet_clashes",
    "start_script",
]
