"""The program: the stack's configuration says the rest."""

from pulumi_tiers.program import main

main()
