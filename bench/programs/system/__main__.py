"""The library's own program: the documented systems that the stack names."""

from pulumi_tiers.program import main

main()
