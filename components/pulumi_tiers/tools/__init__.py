"""Tools that systems have beside their own programs: each optional, by a profile of its own name.

A function gives the workload of a tool, or its workloads by name; where it needs a database of its
own, another gives that. They are facts about images: the sources are in each module.
"""

from pulumi_tiers.tools.flower import flower
from pulumi_tiers.tools.glitchtip import glitchtip, glitchtip_bucket, glitchtip_database
from pulumi_tiers.tools.metabase import metabase, metabase_database
from pulumi_tiers.tools.ngrok import Tunnel, ngrok
from pulumi_tiers.tools.pgadmin import pgadmin
from pulumi_tiers.tools.portainer import portainer

__all__ = [
    "Tunnel",
    "flower",
    "glitchtip",
    "glitchtip_bucket",
    "glitchtip_database",
    "metabase",
    "metabase_database",
    "ngrok",
    "pgadmin",
    "portainer",
]
