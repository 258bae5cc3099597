"""The Pulumi plugin with this library's components: see pulumi_tiers/plugin.py."""

from pulumi_tiers.plugin import serve

serve()
