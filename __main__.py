"""The Pulumi program of this repository: see components/pulumi_tiers/program.py."""

from pulumi_tiers.program import main

main()
