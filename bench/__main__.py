"""`python -m bench`: measures, and prints one table. A missed target is not a failure."""

import argparse
import json
import os
import platform
import sys
from collections.abc import Sequence
from importlib.metadata import version

from pulumi_tiers.cli import docker
from pulumi_tiers.cli.engine import Engine
from rich.console import Console
from rich.table import Table

from bench.cases import CASES, INSTANCES, Machine, Run
from bench.figures import Row
from bench.workplace import MeasureError, workplace

QUICK_INSTANCES = (1, 3, 6)


def main() -> int:
    """Exit code: 0, 1 where something could not be measured, 130 after Ctrl-C."""
    options = _arguments()
    with_compose = bool({"chain", "slow-health", "systems"} & set(options.only))
    machine = Machine.examine(options.image, with_compose=with_compose)
    load = [os.getloadavg()[0]]
    rows: list[Row] = []
    failures: list[str] = []
    try:
        with workplace(processor=options.processor) as place:
            run = Run(
                place,
                machine,
                1 if options.quick else options.runs,
                QUICK_INSTANCES if options.quick else INSTANCES,
            )
            for name in options.only:
                try:
                    rows += CASES[name](run)
                except MeasureError as error:
                    failures.append(f"{name}: {error}")
                    place.end()  # what it left would slow the next one down
    except KeyboardInterrupt:
        sys.stderr.write("interrupted; what was made is removed\n")
        return 130
    load.append(os.getloadavg()[0])
    facts = {
        "runs": run.runs,
        "seconds": "of processor time" if options.processor else "of the clock",
        "cores": os.cpu_count(),
        "load": " to ".join(f"{value:.1f}" for value in load),
        "Python": platform.python_version(),
        "Pulumi": getattr(Engine.find()[0], "version", None),
        "Pulumi SDK": version("pulumi"),
        "pulumi-docker": version("pulumi-docker"),
        "pulumi-kubernetes": version("pulumi-kubernetes"),
        "Docker": docker.server_version(),
    }
    if options.json:
        found = {"facts": facts, "rows": [row.as_json() for row in rows], "failures": failures}
        sys.stdout.write(json.dumps(found, indent=2, ensure_ascii=False) + "\n")
    else:
        _print(rows)
        sys.stdout.write(", ".join(f"{key} {value}" for key, value in facts.items()) + "\n")
    for line in failures:
        sys.stderr.write(f"could not measure {line}\n")
    return 1 if failures else 0


def _print(rows: Sequence[Row]) -> None:
    table = Table(box=None, pad_edge=False)
    for heading in ("", "ours", "against", "theirs", "median of the runs", "target", ""):
        table.add_column(heading, justify="right" if heading in ("ours", "theirs") else "left")
    for row in rows:
        table.add_row(*row.cells())
    # A pipe has no width: nothing is to be cut there.
    Console(width=None if sys.stdout.isatty() else 160).print(table)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--runs", type=int, default=5, help="at least 5 for figures (default: 5)")
    parser.add_argument("--quick", action="store_true", help="one small run: does it still work?")
    parser.add_argument("--only", nargs="+", choices=CASES, default=list(CASES), metavar="NAME")
    parser.add_argument("--image", default="", help="image of the chain: needs sleep and true")
    parser.add_argument(
        "--processor",
        action="store_true",
        help="count processor time: others' work on the machine hardly shows, nor does waiting",
    )
    parser.add_argument("--json", action="store_true", help="every sample, instead of the table")
    options = parser.parse_args()
    if options.runs < 1:
        parser.error("--runs must be 1 or more")
    return options


if __name__ == "__main__":
    sys.exit(main())
