"""Every panel of the dashboards, asked of a real Prometheus that watches a running system."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from containers import Containers
from pulumi_tiers.model.observability import Grafana, Observability
from pulumi_tiers.model.system import Target
from pulumi_tiers.observability.dashboards import metrics_of
from pulumi_tiers.observability.grafana import grafana_workloads
from test_observability_docker import LATER, Watched, gateway_of, observed, receiver

#: There are none until something goes wrong.
WHEN_SOMETHING_IS_WRONG = {"Respostas 5xx"}


def questions(watched: Watched, observability: Observability) -> list[tuple[str, str]]:
    """What each panel asks: its title, and PromQL as Grafana would send it."""
    shown = observability.model_copy(update={"grafana": Grafana()})
    grafana = grafana_workloads(watched.system, shown, Target.DOCKER)["grafana"]
    found: list[tuple[str, str]] = []
    for name, text in grafana.configs.items():
        if name.endswith(".json"):
            dashboard: dict[str, Any] = json.loads(text)
            for panel in dashboard["panels"]:
                for query in panel.get("targets", []):
                    expr = re.sub(r"\$__\w+", "1m", query["expr"])
                    found.append((f"{dashboard['title']}: {panel['title']}", expr))
    return found


@pytest.mark.docker
@pytest.mark.load
def test_no_panel_is_without_data(tmp_path: Path) -> None:
    with Containers(tmp_path) as containers, receiver() as told:
        quick = {"prometheus": {"scrape_interval": "2s", "evaluation_interval": "2s"}}
        wanted = observed(told, gateway_of(containers), **quick)
        watched = Watched(containers, wanted, tmp_path)
        watched.until(lambda: set(watched.targets().values()) == {"up"}, 120, watched.targets)

        def ask_api(path: str, body: dict[str, Any]) -> None:
            command = ("curl", "-sS", "-o", "/dev/null", "-H", "Content-Type: application/json")
            given = ("-d", json.dumps(body), f"http://127.0.0.1:8000{path}")
            done = containers.execute(watched.names["api"], *command, *given)
            assert done.returncode == 0, done.stderr

        every = questions(watched, wanted)
        assert len(every) > 40
        expected = [
            (title, expr)
            for title, expr in every
            if not metrics_of(expr) & LATER
            and title.partition(": ")[2] not in WHEN_SOMETHING_IS_WRONG
        ]
        empty: list[tuple[str, str]] = []

        def all_have_data() -> bool:
            # A rate takes two looks at a number that is there.
            ask_api("/process", {"text": "abc"})
            ask_api("/login", {"user": "x", "password": "wrong"})
            empty[:] = [(title, expr) for title, expr in expected if not watched.query(expr)]
            return not empty

        watched.until(all_have_data, 60, lambda: empty)
