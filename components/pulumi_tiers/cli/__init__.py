"""The `tiers` command."""
