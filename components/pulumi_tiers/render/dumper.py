"""YAML that programs of every version of YAML read alike."""

import re

import yaml


class Dumper(yaml.SafeDumper):
    """Quotes more than PyYAML does, which only thinks of YAML 1.1.

    Unquoted, Go's YAML takes the text 0809 for the number 809, and 1e3 for 1000.
    """


Dumper.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"[-+]?(\.?[0-9][0-9_.]*([eE][-+]?[0-9_]+)?|0[xXoObB][0-9a-fA-F_]+)$"),
    list("-+.0123456789"),
)
Dumper.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile(r"[yYnN]$"), list("yYnN"))
