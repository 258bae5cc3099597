"""Grafana: the documented dashboards, and that no panel of them stays empty."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from containers import Containers, stand_in
from published import check_types
from pulumi_tiers.model.observability import Logs, Observability, ProgramMetrics, Thresholds
from pulumi_tiers.model.store import Store
from pulumi_tiers.model.system import Environment, System, Target
from pulumi_tiers.model.workload import Metrics, Port, Workload
from pulumi_tiers.observability.dashboards import dashboards, documented, metrics_of
from pulumi_tiers.observability.grafana import check_grafana, grafana_workloads
from pulumi_tiers.observability.logs import log_stores
from pulumi_tiers.observability.metrics import ALWAYS, CATALOGUE, exported, program_metrics
from pulumi_tiers.observability.panels import Kind
from pulumi_tiers.systems import SYSTEMS

DOCUMENTED = ["Visão Geral", "Performance", "Recursos", "Aplicação", "Infraestrutura"]
EVERY = pytest.mark.parametrize("name", SYSTEMS)
IN_BOTH = pytest.mark.parametrize("environment", Environment)

Json = dict[str, Any]


def shop(**keys: Any) -> System:
    """A system with one program that tells its numbers."""
    api = Workload(image="shop/api:1", ports=[Port(target=8000)], metrics=Metrics())
    given = {"name": "shop", "title": "Shop", "environment": "production", "services": {"api": api}}
    return System.model_validate({**given, **keys})


def with_logs(system: System, observability: Observability) -> System:
    stores = {**system.stores, **log_stores(system, observability)}
    return system.model_copy(update={"stores": stores})


def files(
    system: System, observability: Observability, target: Target = Target.DOCKER
) -> dict[str, Json]:
    """The dashboards that Grafana is given, by title."""
    workload = grafana_workloads(system, observability, target)["grafana"]
    every = [json.loads(text) for name, text in workload.configs.items() if name.endswith(".json")]
    return {dashboard["title"]: dashboard for dashboard in every}


def panels(dashboard: Json) -> list[Json]:
    return [panel for panel in dashboard["panels"] if panel["type"] != "row"]


def titles(dashboard: Json) -> list[str]:
    return [panel["title"] for panel in panels(dashboard)]


# --- the documented ones --------------------------------------------------------------------------


@EVERY
@IN_BOTH
@pytest.mark.parametrize("target", Target)
def test_every_system_has_the_five_and_all_their_panels_have_data(
    name: str, environment: Environment, target: Target
) -> None:
    observability = Observability(logs=Logs())
    system = with_logs(SYSTEMS[name](environment), observability)
    known = exported(system, observability, target)
    found = files(system, observability, target)
    assert list(found) == DOCUMENTED
    for dashboard in found.values():
        assert panels(dashboard)
        for panel in panels(dashboard):
            assert panel["targets"], panel["title"]
            for query in panel["targets"]:
                if panel["type"] != Kind.LOGS:
                    assert metrics_of(query["expr"]) <= known, panel["title"]


def test_every_panel_that_there_could_be_has_data_somewhere() -> None:
    possible = ALWAYS.union(*CATALOGUE.values())
    possible |= program_metrics(Observability())
    for dashboard in documented(Observability()):
        for row in dashboard.rows.values():
            for panel in row:
                if panel.kind is not Kind.LOGS:
                    for query in panel.queries:
                        assert metrics_of(query.expr), panel.title
                        assert metrics_of(query.expr) <= possible, panel.title


def test_a_panel_goes_with_what_it_asks() -> None:
    """A store, the machines, a program's numbers, the logs: each has its panels, and only it."""
    redis = Store(engine="redis")
    with_redis = files(shop(stores={"redis": redis}), Observability())
    without = files(shop(), Observability())
    assert "Redis: acertos e falhas" in titles(with_redis["Performance"])
    assert not any("Redis" in title for found in without.values() for title in titles(found))

    assert {"CPU", "Memória", "Disco"} <= {*titles(without["Recursos"])}
    alone = files(shop(), Observability(node=False))
    assert not {"CPU", "Memória", "Disco"} & {*titles(alone["Recursos"])}

    silent = ProgramMetrics.model_validate(dict.fromkeys(ProgramMetrics.model_fields))
    quiet = files(shop(), Observability(program=silent))
    assert "Vazão" in titles(without["Performance"])
    assert "Performance" not in quiet
    # A heading stands over nothing nowhere.
    for dashboard in (*with_redis.values(), *alone.values(), *quiet.values()):
        kinds = [panel["type"] for panel in dashboard["panels"]]
        assert all(pair != ("row", "row") for pair in zip(kinds, [*kinds[1:], "row"], strict=True))


def test_a_certificate_is_shown_where_there_is_one() -> None:
    def shown(tls: str) -> bool:
        upstreams = {"api": {"endpoint": "api", "port": 8000}}
        edge = {"upstreams": upstreams, "routes": [{"path": "/", "upstream": "api"}]}
        edge |= {"published": {"http": 80, "https": 443}, "server_names": ["shop.example.com"]}
        system = shop(edges={"nginx": {**edge, "tls": {"mode": tls}}})
        return "Certificado expira em" in titles(files(system, Observability())["Visão Geral"])

    assert shown("self_signed")
    assert not shown("off")


def test_a_queue_is_shown_where_somebody_works_one_off() -> None:
    worker = {"image": "shop/worker:1", "queue": "redis"}
    services = {**shop().services, "worker": Workload.model_validate(worker)}
    system = shop(stores={"redis": Store(engine="redis")}, services=services)
    assert "Fila" in titles(files(system, Observability())["Aplicação"])
    assert "Fila" not in titles(files(shop(), Observability())["Aplicação"])


def test_one_line_of_several_goes_too() -> None:
    known = {"pg_stat_activity_count", "up"}
    found = dashboards(Observability(), known, logs=False)["infraestrutura"]
    [panel] = [item for item in panels(found) if item["title"] == "PostgreSQL: conexões"]
    assert [query["expr"] for query in panel["targets"]] == ["sum(pg_stat_activity_count)"]


def test_the_logs_errors_are_shown_where_logs_are_kept() -> None:
    observability = Observability(logs=Logs())
    found = files(with_logs(shop(), observability), observability)["Aplicação"]
    [panel] = [item for item in panels(found) if item["type"] == "logs"]
    assert panel["datasource"] == {"type": "elasticsearch", "uid": "elasticsearch"}
    assert panel["targets"][0]["query"] == "level:(error OR fatal OR critical)"
    assert "Registros de erros" not in titles(files(shop(), Observability())["Aplicação"])


def test_an_alerts_threshold_is_drawn() -> None:
    observability = Observability(thresholds=Thresholds(cpu_percent=70, response_seconds=0.25))
    found = files(shop(), observability)
    [cpu] = [panel for panel in panels(found["Recursos"]) if panel["title"] == "CPU"]
    steps = cpu["fieldConfig"]["defaults"]["thresholds"]["steps"]
    assert steps == [{"value": None, "color": "green"}, {"value": 70, "color": "red"}]
    [time] = [item for item in panels(found["Performance"]) if item["title"] == "Tempo de resposta"]
    assert time["fieldConfig"]["defaults"]["thresholds"]["steps"][-1]["value"] == 0.25


@EVERY
def test_nothing_lies_over_anything_else(name: str) -> None:
    observability = Observability(logs=Logs())
    system = with_logs(SYSTEMS[name](Environment.PRODUCTION), observability)
    for dashboard in files(system, observability).values():
        ids = [panel["id"] for panel in dashboard["panels"]]
        assert ids == [*range(1, len(ids) + 1)]
        taken: set[tuple[int, int]] = set()
        for place in (panel["gridPos"] for panel in dashboard["panels"]):
            assert place["x"] + place["w"] <= 24
            cells = {
                (place["x"] + right, place["y"] + down)
                for right in range(place["w"])
                for down in range(place["h"])
            }
            assert not cells & taken
            taken |= cells


@pytest.mark.parametrize(
    ("expr", "names"),
    [
        ("rate(a[$__rate_interval])", {"a"}),
        ("rate(a[${__interval}]) / $__range_s", {"a"}),
        ('up{job="$job", host=~"${host:regex}"}', {"up"}),
        ("sum(a) by (x) / on (x) group_left () b", {"a", "b"}),
        ('{__name__="c"}', {"c"}),
    ],
)
def test_grafanas_variables_are_no_metrics(expr: str, names: set[str]) -> None:
    assert metrics_of(expr) == names


# --- the workload ---------------------------------------------------------------------------------


def test_the_source_is_the_documented_one() -> None:
    workload = grafana_workloads(shop(), Observability(), Target.DOCKER)["grafana"]
    sources = yaml.safe_load(workload.configs["datasources.yaml"])
    # L165-175.
    assert sources["apiVersion"] == 1
    [source] = sources["datasources"]
    documented = {"name": "Prometheus", "type": "prometheus", "access": "proxy"}
    documented |= {"url": "http://prometheus:9090", "isDefault": True}
    assert documented.items() <= source.items()
    # Rates are taken over what was scraped at least four times.
    assert source["jsonData"] == {"timeInterval": "15s"}
    [provider] = yaml.safe_load(workload.configs["dashboards.yaml"])["providers"]
    assert provider["options"] == {"path": "/run/configs"}
    assert provider["allowUiUpdates"] is False


def test_the_admins_password_is_a_secret_of_its_own() -> None:
    workload = grafana_workloads(shop(), Observability(), Target.DOCKER)["grafana"]
    # VI-05: the documented variable, generated where nobody sets it, never `admin`.
    assert workload.secret_files["admin_password"] == "${secret.GRAFANA_ADMIN_PASSWORD}"
    variable = "GF_SECURITY_ADMIN_PASSWORD__FILE"
    assert workload.environment[variable] == "/run/secrets/admin_password"
    assert workload.secrets == {}
    assert workload.user == "472:0"
    assert workload.read_only
    # VI-07.
    assert [volume.target for volume in workload.volumes] == ["/var/lib/grafana"]
    # L323-336.
    assert workload.healthcheck is not None
    assert workload.healthcheck.path == "/api/health"


def test_it_is_published_in_development_or_where_somebody_says() -> None:
    def port(environment: str, **grafana: Any) -> int | None:
        observability = Observability.model_validate({"grafana": grafana})
        system = shop(environment=environment)
        workload = grafana_workloads(system, observability, Target.DOCKER)["grafana"]
        [port] = workload.ports
        assert (port.target, port.host_ip) == (3000, "127.0.0.1")
        return port.published

    assert port("development") == 3000
    assert port("production") is None
    assert port("production", published=3300) == 3300


def test_logs_are_read_as_the_user_of_the_index() -> None:
    observability = Observability(logs=Logs(store="search"))
    workload = grafana_workloads(shop(), observability, Target.DOCKER)["grafana"]
    [_, source] = yaml.safe_load(workload.configs["datasources.yaml"])["datasources"]
    assert source["basicAuthUser"] == "$LOGS_USER"
    assert workload.environment["LOGS_USER"] == "${search.logs.user}"
    assert workload.environment["LOGS_URL"] == "http://${search.logs.host}:${search.logs.port}"
    password = source["secureJsonData"]["basicAuthPassword"]
    assert password == "$__file{/run/secrets/logs_password}"
    assert workload.secret_files["logs_password"] == "${search.logs.password}"


def test_none_is_none() -> None:
    assert grafana_workloads(shop(), Observability(grafana=None), Target.DOCKER) == {}
    assert [*check_grafana("", shop(), Observability(grafana=None), Target.DOCKER)] == []


# --- one's own ------------------------------------------------------------------------------------


def own(text: object, name: str = "orders.json") -> list[str]:
    """What is wrong with a dashboard of one's own."""
    content = text if isinstance(text, str) else json.dumps(text)
    observability = Observability.model_validate({"grafana": {"extra_dashboards": {name: content}}})
    found = check_grafana("shop: observability.", shop(), observability, Target.DOCKER)
    return [str(mistake) for mistake in found]


def asking(expr: str, **keys: Any) -> Json:
    inner = {"title": "Pedidos", "targets": [{"expr": expr}]}
    return {"title": "Loja", "panels": [{"type": "row", "panels": [inner]}], **keys}


def test_a_right_one_is_there_beside_the_five() -> None:
    right = asking('sum(rate(http_requests_total{job="$job"}[$__rate_interval]))')
    assert own(right) == []
    grafana = {"extra_dashboards": {"orders.json": json.dumps(right)}}
    observability = Observability.model_validate({"grafana": grafana})
    assert list(files(shop(), observability)) == [*DOCUMENTED, "Loja"]


@pytest.mark.parametrize(
    ("text", "name", "why"),
    [
        (
            asking("orders_total"),
            "orders.json",
            "the panel 'Pedidos' asks for what nothing here exports: orders_total",
        ),
        (asking("sum(up"), "orders.json", "the panel 'Pedidos' asks for what is not PromQL"),
        ("{", "orders.json", "this is not JSON"),
        ({"panels": []}, "orders.json", "this is not a dashboard"),
        ([], "orders.json", "this is not a dashboard"),
        (asking("up", uid="performance"), "orders.json", "its uid is 'performance'"),
        (asking("up", uid=["orders"]), "orders.json", "its uid is a list"),
        (asking("up", uid="a b/c"), "orders.json", "its uid is 'a b/c'"),
        ({"title": "Loja", "panels": [1]}, "orders.json", "this is not a dashboard"),
        ({"title": 5, "panels": []}, "orders.json", "this is not a dashboard"),
        (asking("up"), "recursos.json", "the file of a documented dashboard is called so"),
        (asking("up"), "orders", "Grafana reads files that end with .json"),
    ],
)
def test_a_wrong_one_is_refused(text: object, name: str, why: str) -> None:
    [found] = own(text, name)
    place, _, rest = found.partition(": observability.")
    assert place == "shop"
    assert rest.startswith(f"grafana.extra_dashboards.{name}: {why}")


def test_what_a_program_exports_is_known_when_it_is_said() -> None:
    content = json.dumps(asking("orders_total"))
    observability = Observability.model_validate(
        {"grafana": {"extra_dashboards": {"a.json": content}}, "exports": ["orders_total"]}
    )
    assert [*check_grafana("", shop(), observability, Target.DOCKER)] == []


def test_each_has_a_name_of_its_own() -> None:
    """Grafana stops writing what two files both want to be."""
    text = json.dumps(asking("up", uid="orders"))
    grafana = {"extra_dashboards": {"a.json": text, "b.json": text}}
    observability = Observability.model_validate({"grafana": grafana})
    found = [*check_grafana("", shop(), observability, Target.DOCKER)]
    assert [(mistake.place, mistake.why) for mistake in found] == [
        ("grafana.extra_dashboards.b.json", "its uid is 'orders', as another one's"),
        ("grafana.extra_dashboards.b.json", "its title is 'Loja', as another one's"),
    ]


@pytest.mark.parametrize(
    "expr",
    [
        'rate(http_requests_total{job=~"${job:regex}"}[${interval}])',
        "rate(http_requests_total[$interval:1m])",
        "sum($metric)",
        'rate(http_requests_total{path=~"[$a]"}[5m])',
    ],
)
def test_variables_stand_where_grafana_puts_them_in(expr: str) -> None:
    assert own(asking(expr)) == []


def test_other_sources_are_not_ours_to_judge() -> None:
    loki = {"title": "x", "targets": [{"expr": "{a} |= b", "datasource": {"type": "loki"}}]}
    assert own({"title": "Loja", "panels": [loki]}) == []


# --- the real things ------------------------------------------------------------------------------


@pytest.mark.load
def test_the_dashboards_are_of_grafanas_published_types(tmp_path: Path) -> None:
    """Its Foundation SDK is made of the schemas of Grafana itself."""
    lines = ['import type { Dashboard } from "./published";']
    for name, make in SYSTEMS.items():
        observability = Observability(logs=Logs())
        system = with_logs(make(Environment.PRODUCTION), observability)
        for found in files(system, observability).values():
            own_name = f"{name}_{found['uid']}".replace("-", "_")
            lines.append(f"export const {own_name}: Dashboard = {json.dumps(found)};")
    text = "\n".join(lines)
    assert check_types(tmp_path, text) == ""
    # It does look.
    for right, wrong in (
        ('"graphMode": "none"', '"graphMode": "non"'),
        ('"legendFormat"', '"legend"'),
        ('"fillOpacity": 10', '"fillOpacity": "10"'),
        ('"gridPos": {"h": 8', '"gridPos": {"height": 8'),
    ):
        assert right in text
        assert "error TS" in check_types(tmp_path, text.replace(right, wrong))


@pytest.fixture
def containers(tmp_path: Path) -> Iterator[Containers]:
    with Containers(tmp_path) as made:
        yield made


@pytest.mark.docker
def test_it_starts_with_its_hardening(containers: Containers) -> None:
    """The script before Grafana, on a read-only root; Grafana itself is played by a stand-in."""
    image = stand_in("grafana/grafana:12.4.4")
    observability = Observability.model_validate({"grafana": {"image": image}})
    workload = grafana_workloads(shop(), observability, Target.DOCKER)["grafana"]
    secrets = {"secret.GRAFANA_ADMIN_PASSWORD": "p", "secret.GRAFANA_SECRET_KEY": "k"}
    name = containers.start("grafana", workload, secrets)
    containers.wait_healthy(name, workload)
    listing = containers.execute(name, "find", "/tmp/provisioning", "-type", "f").stdout.decode()
    assert sorted(listing.split()) == [
        "/tmp/provisioning/dashboards/dashboards.yaml",
        "/tmp/provisioning/datasources/datasources.yaml",
    ]
