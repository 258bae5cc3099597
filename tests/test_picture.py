"""The picture: the documented system's boxes, nodes, edges and ports, in both languages."""

import re
import shutil
import xml.etree.ElementTree as ET
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
from pulumi_tiers.app_tier import AppTier
from pulumi_tiers.model.store import Database, Store
from pulumi_tiers.model.system import Environment, System, Target
from pulumi_tiers.model.workload import Autoscale, Condition, Healthcheck, Port, Workload
from pulumi_tiers.plan import Plan
from pulumi_tiers.platforms.base import ConnectionArgs
from pulumi_tiers.program import deploy, main
from pulumi_tiers.render.details import part_of
from pulumi_tiers.render.picture import (
    Edge,
    Kind,
    Node,
    PictureError,
    dot,
    mermaid,
    picture,
    svg,
)
from pulumi_tiers.render.recorder import Json, Recording, Resource, Secret, record
from pulumi_tiers.settings import Settings
from pulumi_tiers.site import Site

BOTH_LANGUAGES = pytest.mark.parametrize("draw", [mermaid, dot])


@cache
def encontros_tech(environment: str, target: str = "docker") -> Recording:
    config = {"tiers:environment": environment, "tiers:target": target}
    return record(main, project="tiers", stack="dev", config=config)


def deployed(*systems: System, target: Target = Target.DOCKER) -> Recording:
    plan = Plan("dev", Settings(target=target), systems)

    def program() -> None:
        for system in systems:
            deploy(plan, system)

    return record(program, project="tiers", stack="dev", config={})


def workload(**more: Json) -> Workload:
    usual: dict[str, Json] = {"image": "app:1", "healthcheck": Healthcheck(test=["CMD", "true"])}
    return Workload(**{**usual, **more})


def shop(name: str = "shop", **services: Workload) -> System:
    """A system with a database that has an owner of its own, which a job makes."""
    return System(
        name=name,
        title="Shop",
        environment=Environment.DEVELOPMENT,
        stores={
            "postgres": Store(
                engine="postgres",
                image="postgres:15",
                databases=[Database(name="shop", owner="shop")],
                published=5432,
            )
        },
        services=dict(services),
    )


def edges(recording: Recording) -> dict[tuple[str, str], tuple[str, ...]]:
    return {(edge.source, edge.target): edge.lines for edge in picture(recording).edges}


# --- Encontros Tech -------------------------------------------------------------------------------

APP, STORE = "encontros-tech/encontros-tech", "encontros-tech/postgres"


@pytest.mark.parametrize(
    ("environment", "target", "place", "image", "replicas", "port"),
    [
        (
            "development",
            "docker",
            "network dev-encontros-tech",
            "develop",
            1,
            "127.0.0.1:8000 → 8000",
        ),
        (
            "production",
            "docker",
            "network dev-encontros-tech",
            "latest",
            2,
            "127.0.0.1:8000-8001 → 8000",
        ),
        (
            "development",
            "kubernetes",
            "namespace homologacao",
            "develop",
            1,
            "load balancer :80 → 8000",
        ),
        (
            "production",
            "kubernetes",
            "namespace production",
            "latest",
            2,
            "load balancer :80 → 8000",
        ),
    ],
)
def test_encontros_tech(
    environment: str, target: str, place: str, image: str, replicas: int, port: str
) -> None:
    drawn = picture(encontros_tech(environment, target))
    assert [system.title for system in drawn.systems] == [f"encontros-tech ({place})"]
    assert drawn.nodes == [
        Node(
            system="encontros-tech",
            name="encontros-tech",
            kind=Kind.SERVICE,
            image=f"marcospaulo1991/encontros-tech:{image}",
            tier="AppTier encontros-tech-app",
            replicas=replicas,
            unverified=True,
        ),
        Node(
            system="encontros-tech",
            name="postgres",
            kind=Kind.STORE,
            image="postgres:15",
            tier="DataTier encontros-tech-data",
        ),
    ]
    assert drawn.edges == [Edge(APP, STORE), Edge("people", APP, (port,))]


def test_encontros_tech_in_mermaid() -> None:
    assert mermaid(encontros_tech("production")).splitlines() == [
        "flowchart LR",
        '  people(("people"))',
        '  subgraph system_encontros_tech["encontros-tech (network dev-encontros-tech)"]',
        '    subgraph encontros_tech_apptier_encontros_tech_app["AppTier encontros-tech-app"]',
        '      encontros_tech_encontros_tech["encontros-tech ×2'  # noqa: RUF001
        '<br/>marcospaulo1991/encontros-tech:latest<br/>hardening unverified"]',
        "    end",
        '    subgraph encontros_tech_datatier_encontros_tech_data["DataTier encontros-tech-data"]',
        '      encontros_tech_postgres[("postgres<br/>postgres:15")]',
        "    end",
        "  end",
        "  encontros_tech_encontros_tech --> encontros_tech_postgres",
        '  people -->|"127.0.0.1:8000-8001 → 8000"| encontros_tech_encontros_tech',
        "  classDef unverified stroke-dasharray: 5 5",
        "  class encontros_tech_encontros_tech unverified",
    ]


def test_encontros_tech_in_graphviz() -> None:
    lines = [line.strip() for line in dot(encontros_tech("development")).splitlines()]
    for line in (
        'label="encontros-tech (network dev-encontros-tech)"',
        'label="AppTier encontros-tech-app"',
        f'"{APP}" [label="encontros-tech\\nmarcospaulo1991/encontros-tech:develop'
        '\\nhardening unverified", shape=box, style="dashed"]',
        'label="DataTier encontros-tech-data"',
        f'"{STORE}" [label="postgres\\npostgres:15", shape=cylinder, style=""]',
        f'"people" -> "{APP}" [label="127.0.0.1:8000 → 8000"]',
        f'"{APP}" -> "{STORE}" []',
    ):
        assert lines.count(line) == 1, line


# --- who needs whom -------------------------------------------------------------------------------


@pytest.mark.parametrize("target", [Target.DOCKER, Target.KUBERNETES], ids="on-{}".format)
def test_edges_are_what_is_waited_for_and_what_is_connected_to(target: Target) -> None:
    recording = deployed(
        shop(
            waits=workload(depends_on={"postgres": Condition.SERVICE_HEALTHY}),
            started=workload(depends_on={"waits": Condition.SERVICE_STARTED}),
            url=workload(secrets={"DATABASE_URL": "${postgres.url}"}),
            parts=workload(environment={"DB_HOST": "${postgres.host}"}),
            http=workload(environment={"API": "http://url:8000/v1"}),
            list=workload(environment={"SEEDS": "parts:27017,http:27017"}),
            alone=workload(environment={"NAME": "http", "OWN": "http://alone:80"}),
            migrate=workload(job=True, healthcheck=None, restart="no"),
            after=workload(depends_on={"migrate": Condition.SERVICE_COMPLETED}),
            file=workload(secret_files={"DATABASE_URL": "${postgres.url}"}),
        ),
        target=target,
    )
    found = edges(recording)
    assert {
        (source.removeprefix("shop/"), end.removeprefix("shop/")): lines
        for (source, end), lines in found.items()
        if source != "people"
    } == {
        ("waits", "postgres"): (),
        ("started", "waits"): (),
        ("url", "postgres"): (),
        ("parts", "postgres"): (),
        ("http", "url"): (),
        ("list", "parts"): (),
        ("list", "http"): (),
        ("after", "migrate"): ("after",),
        ("file", "postgres"): (),
    }


def test_the_user_and_the_password_of_a_url_are_no_hosts() -> None:
    urls = {"URL": "amqp://api:5000@queue:5672/api", "OTHER": "x://worker:1@elsewhere/api:80"}
    recording = deployed(
        shop(api=workload(), worker=workload(), queue=workload(), user=workload(environment=urls))
    )
    assert [target for source, target in edges(recording) if source == "shop/user"] == [
        "shop/queue"
    ]


def test_the_same_host_name_of_another_system_is_another_host() -> None:
    uses = workload(secrets={"DATABASE_URL": "${postgres.url}"})
    recording = deployed(shop("one", api=uses), shop("two", api=uses))
    assert {ends for ends in edges(recording) if ends[0].endswith("/api")} == {
        ("one/api", "one/postgres"),
        ("two/api", "two/postgres"),
    }


def test_what_another_stack_makes_is_drawn_outside() -> None:
    def program() -> None:
        site = Site("shop", {})
        connection: ConnectionArgs = {
            "host": "db.example.com",
            "port": "5432",
            "user": "shop",
            "database": "shop",
            "password": "hidden",
            "url": "postgresql://shop:hidden@db.example.com:5432/shop",
            "ready": "db.example.com",
        }
        AppTier(
            "shop-app",
            {
                "site": site.ref,
                "services": {
                    "api": {"image": "app:1", "depends_on": {"db": Condition.SERVICE_HEALTHY}}
                },
                "connections": {"db": connection},
            },
        )

    recording = record(program, project="tiers", stack="dev", config={})
    assert picture(recording).outside == [Node("shop", "db", Kind.STORE)]
    assert edges(recording) == {("shop/api", "shop/db"): ()}
    assert '\n  shop_db[("db")]\n  shop_api --> shop_db\n' in mermaid(recording)
    assert '\n  "shop/db" [label="db", shape=cylinder, style=""]\n' in dot(recording)


# --- ports ----------------------------------------------------------------------------------------


def test_ports_are_told_in_the_order_of_their_numbers() -> None:
    ports = [
        Port(target=9443, published=9443),
        Port(target=8000, published=8010, host_ip="0.0.0.0"),
        Port(target=8080),
    ]
    found = edges(deployed(shop(web=workload(ports=ports, replicas=3))))
    assert found["people", "shop/web"] == (
        "0.0.0.0:8010-8012 → 8000",
        "127.0.0.1:9443-9445 → 9443",
    )
    assert found["people", "shop/postgres"] == ("127.0.0.1:5432 → 5432",)


def test_nobody_is_drawn_where_nothing_is_published() -> None:
    system = shop(api=workload()).model_copy(update={"stores": {}})
    assert "people" not in mermaid(deployed(system))
    assert '"people"' not in dot(deployed(system))


# --- drawing --------------------------------------------------------------------------------------


@pytest.mark.parametrize("target", [Target.DOCKER, Target.KUBERNETES], ids="on-{}".format)
def test_what_helps_a_workload_is_a_detail_of_it(target: Target) -> None:
    """The job that makes a database, and the one that writes files."""
    recording = deployed(
        shop(api=workload(secret_files={"KEY": "${postgres.url}"}, configs={"a.conf": "x"})),
        target=target,
    )
    helpers = [item.name for item in recording.resources if part_of(item)]
    assert "shop-data-postgres-setup" in helpers
    assert ("shop-app-api-files" in helpers) is (target is Target.DOCKER)
    drawn = picture(recording)
    assert [node.name for node in drawn.nodes] == ["api", "postgres"]
    assert [(edge.source, edge.target) for edge in drawn.edges if edge.source != "people"] == [
        ("shop/api", "shop/postgres")
    ]


@cache
def nutrifitcoach(target: str) -> Recording:
    config: dict[str, Json] = {
        "tiers:environment": "production",
        "tiers:target": target,
        "tiers:systems": ["nutrifitcoach"],
        "tiers:tls": {"nutrifitcoach": {"mode": "self_signed"}},
        "tiers:domains": {"nutrifitcoach": "coach.example.com"},
    }
    return record(main, project="tiers", stack="dev", config=config)


@pytest.mark.parametrize(
    ("target", "place", "ports"),
    [
        (
            "docker",
            "networks dev-nutrifitcoach-data, dev-nutrifitcoach-edge",
            ("127.0.0.1:80 → 8080", "127.0.0.1:443 → 8443"),
        ),
        (
            "kubernetes",
            "namespace nutrifitcoach-production",
            ("load balancer :80 → 8080", "load balancer :443 → 8443"),
        ),
    ],
)
def test_an_edge_stands_between_people_and_services(
    target: str, place: str, ports: tuple[str, ...]
) -> None:
    drawn = picture(nutrifitcoach(target))
    [system] = drawn.systems
    assert system.place == place
    assert {tier: [node.name for node in nodes] for tier, nodes in drawn.tiers(system).items()} == {
        "AppTier nutrifitcoach-app": ["api", "migrations"],
        "DataTier nutrifitcoach-data": ["minio", "postgres", "redis"],
        "EdgeProxy nutrifitcoach-nginx": ["nginx"],
        "MLTier nutrifitcoach-ml": ["worker"],
    }
    stores = ("minio", "postgres", "redis")
    assert {
        (edge.source.rpartition("/")[2], edge.target.rpartition("/")[2]): edge.lines
        for edge in drawn.edges
    } == {
        ("people", "nginx"): ports,
        ("nginx", "api"): (),
        ("nginx", "minio"): (),
        **{("api", store): () for store in stores},
        **{("worker", store): () for store in stores},
        ("migrations", "postgres"): (),
        ("api", "migrations"): ("after",),
        ("worker", "migrations"): ("after",),
    }
    [nginx] = [node for node in drawn.nodes if node.name == "nginx"]
    assert nginx.kind is Kind.EDGE
    assert 'nutrifitcoach_nginx{{"nginx<br/>nginx:alpine"}}' in mermaid(nutrifitcoach(target))
    assert '"nutrifitcoach/nginx" [label="nginx\\nnginx:alpine", shape=hexagon' in dot(
        nutrifitcoach(target)
    )


def test_members_of_a_replica_set_are_one_store() -> None:
    config: dict[str, Json] = {
        "tiers:environment": "production",
        "tiers:target": "kubernetes",
        "tiers:systems": ["pigmeu"],
        "tiers:tls": {"pigmeu": {"mode": "self_signed"}},
    }
    drawn = picture(record(main, project="tiers", stack="dev", config=config))
    [mongo] = [node for node in drawn.nodes if "mongo" in node.name]
    assert mongo.lines[0] == "mongo ×3"  # noqa: RUF001
    assert Edge("pigmeu/worker", "pigmeu/mongo") in drawn.edges
    assert Edge("pigmeu/nginx", "pigmeu/api") in drawn.edges


def test_an_autoscaler_says_how_many_there_are() -> None:
    recording = deployed(
        shop(api=workload(autoscale=Autoscale(min=2, max=10))), target=Target.KUBERNETES
    )
    [api] = [node for node in picture(recording).nodes if node.name == "api"]
    assert (api.replicas, api.most) == (2, 10)
    assert api.lines[0] == "api ×2-10"  # noqa: RUF001


def named(component: str) -> Recording:
    """A service in a component of that name, which may be any text."""

    def program() -> None:
        site = Site("end", {})
        AppTier(component, {"site": site.ref, "services": {"a": {"image": "app:1"}}})

    return record(program, project="tiers", stack="dev", config={})


def test_labels_are_texts_whatever_they_say() -> None:
    recording = named('the "x" #1 <b>\\')
    assert 'end_apptier_the_x_1_b_["AppTier the #quot;x#quot; #35;1 #lt;b#gt;\\"]' in mermaid(
        recording
    )
    assert 'label="AppTier the \\"x\\" #1 <b>\\\\"' in dot(recording)


def test_ids_in_mermaid_are_plain_words_and_differ() -> None:
    recording = deployed(
        shop("a", b=workload()), shop("a-b", **{"a--b": workload(), "a-b": workload()})
    )
    text = mermaid(recording)
    ids = re.findall(r"^ *(?:subgraph )?(\w+)[\[(]", text, re.MULTILINE)
    # people, and of each system: its box, two tiers, the store and the services.
    assert len(ids) == len(set(ids)) == 1 + 5 + 6
    assert all(re.fullmatch(r"[a-z][a-z0-9_]*", word) for word in ids)
    assert not {"end", "graph", "class", "style", "subgraph"} & set(ids)


def nodes_and_boxes(text: str) -> Mapping[str, int]:
    return {
        "nodes": text.count('class="node"'),
        "boxes": text.count('class="cluster"'),
        "edges": text.count('class="edge"'),
    }


@pytest.mark.skipif(not shutil.which("dot"), reason="Graphviz is not installed")
def test_svg_has_everything() -> None:
    text = svg(
        deployed(
            shop("one", api=workload(unverified=True)),
            shop("two"),
        )
    )
    # Of each: the system and its tiers; people reach both stores.
    assert nodes_and_boxes(text) == {"nodes": 4, "boxes": 5, "edges": 2}
    assert ET.fromstring(text).tag == "{http://www.w3.org/2000/svg}svg"
    assert "hardening unverified" in text
    assert "stroke-dasharray" in text


@pytest.mark.skipif(not shutil.which("dot"), reason="Graphviz is not installed")
def test_svg_takes_every_label() -> None:
    ET.fromstring(svg(named('the "x" #1 <b>\\')))


def test_without_graphviz_the_error_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(PictureError, match="install graphviz"):
        svg(encontros_tech("development"))


def test_a_graphviz_that_fails_is_quoted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    program = tmp_path / "dot"
    program.write_text("#!/bin/sh\necho no fonts here >&2\nexit 1\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    with pytest.raises(PictureError, match="no fonts here"):
        svg(encontros_tech("development"))


def test_of_replicas_that_differ_the_first_is_drawn() -> None:
    def other(resource: Resource) -> Resource:
        if not resource.name.endswith("-api-2"):
            return resource
        return replace(resource, inputs={**resource.inputs, "image": "app:2"})

    resources = [other(resource) for resource in deployed(shop(api=workload(replicas=2))).resources]
    for order in (resources, resources[::-1]):
        [api] = [node for node in picture(Recording(order)).nodes if node.name == "api"]
        assert api.lines == ["api ×2", "app:1"]  # noqa: RUF001


# --- always ---------------------------------------------------------------------------------------


@BOTH_LANGUAGES
@pytest.mark.parametrize("target", list(Target)[:2], ids="on-{}".format)
def test_the_same_program_gives_the_same_picture(
    draw: Callable[[Recording], str], target: Target
) -> None:
    system = shop(api=workload(replicas=3, ports=[Port(target=80, published=8080)]))
    recordings = [deployed(system, target=target) for _ in range(3)]
    recordings.append(Recording(list(reversed(recordings[0].resources))))
    assert len({draw(recording) for recording in recordings}) == 1


@BOTH_LANGUAGES
@pytest.mark.parametrize("target", ["docker", "kubernetes"], ids="on-{}".format)
@pytest.mark.parametrize(
    "password", ["", "correct-horse-battery-staple-42"], ids=["generated", "given"]
)
def test_no_secret_is_drawn(draw: Callable[[Recording], str], target: str, password: str) -> None:
    config: dict[str, Json] = {"tiers:environment": "production", "tiers:target": target}
    if password:
        config["tiers:secrets"] = {"encontros-tech/postgres/doadmin": Secret(password)}
    text = draw(record(main, project="tiers", stack="dev", config=config))
    assert "__secret" not in text
    assert "password" not in text.lower()
    assert not password or password not in text
