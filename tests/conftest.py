"""Levels of tests: each runs wherever what it needs is here; the run ends with a table.

`pytest -n 2` runs two files at a time.
"""

import re
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cluster import Cluster, NoClusterError, why_no_cluster
from pulumi_tiers.cli import docker
from pulumi_tiers.cli.engine import Engine
from sandbox import Sandbox
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

LEVELS = ("docker", "engine", "cluster", "load")
_CLUSTERS = re.compile(r"test_(cluster|digitalocean_systems)")
"""Files whose tests all want a cluster."""


def _missing(level: str) -> str:
    """Why a level can't run here; empty if it can."""
    match level:
        case "docker":
            return "" if docker.server_version() else f"no Docker daemon: {docker.why_not()}"
        case "engine":
            return Engine.find()[1]
        case "cluster":
            return why_no_cluster()
        case _:
            return ""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    reasons = {level: _missing(level) for level in LEVELS}
    slow: Counter[str] = Counter()
    for item in items:
        for level in LEVELS:
            if item.get_closest_marker(level) and reasons[level]:
                item.add_marker(pytest.mark.skip(reason=reasons[level]))
        # A test with several marks counts for the one that asks for most.
        marks = [level for level in LEVELS if item.get_closest_marker(level)]
        item.user_properties.append(("level", marks[-1] if marks else "plain"))
        # One that needs Docker, the engine and time takes longer than one that needs Docker.
        slow[_part(item.nodeid)] += len(marks)
    # What takes long begins first: of several processes, none is left alone with it at the end.
    items.sort(key=lambda item: (-slow[_part(item.nodeid)], _part(item.nodeid)))


def _part(nodeid: str) -> str:
    """What one process runs, so that fixtures are made once: a file, or all that want a cluster."""
    file = nodeid.partition("::")[0]
    return "cluster" if _CLUSTERS.search(file) else file


class _Parts(LoadScopeScheduling):
    """Gives each process one part after the other."""

    def _split_scope(self, nodeid: str) -> str:
        return _part(nodeid)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> _Parts:
    config.option.loadscopereorder = False
    return _Parts(config, log)


def _level(report: pytest.TestReport) -> str:
    # A file that can't be collected has none.
    return str(dict(getattr(report, "user_properties", [])).get("level", "plain"))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    counts: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    reasons: dict[str, set[str]] = defaultdict(set)
    for outcome in ("passed", "failed", "error", "skipped"):
        for report in terminalreporter.stats.get(outcome, []):
            level = _level(report)
            counts[level]["failed" if outcome == "error" else outcome] += 1
            if outcome == "skipped" and isinstance(report.longrepr, tuple):
                reasons[level].add(str(report.longrepr[2]).removeprefix("Skipped: "))
    terminalreporter.section("levels")
    terminalreporter.line(f"{'level':<10}{'passed':>8}{'failed':>8}{'skipped':>9}  why skipped")
    for level in ("plain", *LEVELS):
        row = counts[level]
        terminalreporter.line(
            f"{level:<10}{row['passed']:>8}{row['failed']:>8}{row['skipped']:>9}"
            f"  {'; '.join(sorted(reasons[level]))}"
        )


@pytest.fixture
def sandbox(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Sandbox]:
    """A copy of the program with a stack of its own, taken away afterwards with all its data."""
    made = Sandbox.make(tmp_path / "project")
    yield made
    made.remove()


@pytest.fixture(scope="session")
def cluster(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Cluster]:
    """A Kubernetes; built by the first run of all, which takes minutes, so they are told."""
    capture: Any = request.config.pluginmanager.getplugin("capturemanager")

    def say(text: str) -> None:
        with capture.global_and_fixture_disabled():
            print(text, file=sys.stderr, flush=True)

    try:
        made = Cluster.get(tmp_path_factory.mktemp("cluster"), say)
    except NoClusterError as error:
        pytest.skip(str(error))
    yield made
    made.stop()
