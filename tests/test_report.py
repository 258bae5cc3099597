"""The report: what decides is told, in the same order each time, and no secret."""

import re
from functools import cache
from pathlib import Path

import pytest
from pulumi_tiers.cli import render as renders
from pulumi_tiers.cli.project import Project
from pulumi_tiers.model.store import Database, Store
from pulumi_tiers.model.system import Environment, System, Target
from pulumi_tiers.model.workload import Autoscale, Healthcheck, Port, Volume, Workload
from pulumi_tiers.plan import Plan
from pulumi_tiers.program import deploy, main
from pulumi_tiers.render.markdown import table, text
from pulumi_tiers.render.recorder import (
    Json,
    Recording,
    Resource,
    Secret,
    record,
    secret_placeholder,
)
from pulumi_tiers.render.report import report
from pulumi_tiers.settings import Settings

ROOT = Path(__file__).resolve().parent.parent
PASSWORD = "correct-horse-battery-staple-42"
TARGETS = pytest.mark.parametrize("target", ["docker", "kubernetes"], ids="on-{}".format)


def recorded(environment: str, target: str, **more: Json) -> Recording:
    config = {"tiers:environment": environment, "tiers:target": target, **more}
    return record(main, project="tiers", stack="dev", config=config)


@cache
def encontros_tech(environment: str, target: str) -> str:
    return report(recorded(environment, target), "dev")


def deployed(target: Target, **services: Workload) -> str:
    system = System(
        name="shop",
        title="Shop",
        environment=Environment.DEVELOPMENT,
        stores={
            "postgres": Store(
                engine="postgres", image="postgres:15", databases=[Database(name="s", owner="s")]
            )
        },
        services=dict(services),
    )
    plan = Plan("dev", Settings(target=target), (system,))

    def program() -> None:
        deploy(plan, system)

    return report(record(program, project="tiers", stack="dev", config={}), "dev")


def rows(report_: str, heading: str) -> list[list[str]]:
    """The cells of the first table below a heading."""
    body = report_.split(f"\n## {heading}\n", 1)[1].split("\n## ", 1)[0]
    lines = [line for line in body.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines[2:]]


def below(report_: str, heading: str) -> str:
    return report_.split(f"\n## {heading}\n\n", 1)[1].split("\n\n## ", 1)[0].strip()


# --- Encontros Tech -------------------------------------------------------------------------------


def test_services_and_stores_on_docker() -> None:
    told = encontros_tech("production", "docker")
    assert told.startswith("# Stack dev\n\n## System encontros-tech (network dev-encontros-tech)\n")
    app, store = rows(told, "System encontros-tech (network dev-encontros-tech)")
    assert app[:5] == [
        "encontros-tech",
        "service",
        "marcospaulo1991/encontros-tech:latest",
        "2",
        "0.5 CPU, 256 MiB",
    ]
    assert app[5].startswith("python3 -c ")
    assert app[5].endswith(", every 2s")
    assert app[6:] == ["-", "hardening unverified"]
    assert store == [
        "postgres",
        "store",
        "postgres:15",
        "1",
        "1 CPU, 256 MiB",
        "pg_isready -h 127.0.0.1 -U doadmin, every 1s",
        "dev-encontros-tech-postgres-data (10Gi) at /var/lib/postgresql/data",
        "-",
    ]


def test_services_and_stores_on_kubernetes() -> None:
    app, store = rows(
        encontros_tech("production", "kubernetes"), "System encontros-tech (namespace production)"
    )
    assert app[3:] == [
        "2",
        "0.5 CPU, 256 MiB",
        "GET / on port 8000, every 2s",
        "-",
        "hardening unverified",
    ]
    assert store[4:] == [
        "1 CPU, 256 MiB",
        "pg_isready -h 127.0.0.1 -U doadmin, every 1s",
        "10Gi at /var/lib/postgresql/data, of each replica",
        "-",
    ]


def test_what_is_reached_from_outside() -> None:
    assert rows(encontros_tech("production", "docker"), "Reached from outside") == [
        [
            "encontros-tech",
            "encontros-tech",
            "127.0.0.1:8000-8001 → 8000",
            "http://127.0.0.1:8000, http://127.0.0.1:8001",
            "-",
        ]
    ]
    [row] = rows(encontros_tech("production", "kubernetes"), "Reached from outside")
    assert row[2] == "load balancer :80 → 8000"
    assert row[3] == r"http://\${kubernetes.encontros-tech-app-encontros-tech.address}"


def test_secrets_are_told_by_name() -> None:
    assert rows(encontros_tech("development", "docker"), "Secrets") == [
        ["encontros-tech", "encontros-tech", "DATABASE_URL", "environment"],
        ["encontros-tech", "postgres", "POSTGRES_PASSWORD", "environment"],
    ]
    told = encontros_tech("development", "kubernetes")
    assert rows(told, "Secrets") == [
        ["encontros-tech", "encontros-tech", "DATABASE_URL", "Secret db-credentials"],
        ["encontros-tech", "postgres", "POSTGRES_PASSWORD", "Secret postgres"],
    ]
    assert "Generated passwords: encontros-tech-data-postgres-doadmin-password." in told


@TARGETS
def test_a_stack_elsewhere_has_no_price_and_says_so(target: str) -> None:
    assert below(encontros_tech("production", target), "Price").splitlines()[0] == (
        "Nothing is made on DigitalOcean; of other places no prices are known here."
    )
    assert "USD" not in encontros_tech("production", target)


def test_warnings_are_told() -> None:
    assert "\n## Warnings\n\n- encontros-tech: " in encontros_tech("production", "kubernetes")
    assert "Warnings" not in encontros_tech("production", "docker")


@TARGETS
@pytest.mark.parametrize("environment", ["development", "production"])
@pytest.mark.parametrize("given", [True, False], ids=["given", "generated"])
def test_no_secret_is_in_it(environment: str, target: str, given: bool) -> None:
    secrets = {"encontros-tech/postgres/doadmin": Secret(PASSWORD)} if given else {}
    told = report(recorded(environment, target, **{"tiers:secrets": secrets}), "dev")
    assert "DATABASE_URL" in told
    assert PASSWORD not in told
    assert "__secret" not in told
    assert "postgresql://" not in told


@TARGETS
def test_it_is_the_same_each_time(target: str) -> None:
    recording = recorded("production", target)
    recording.resources.reverse()
    assert report(recording, "dev") == encontros_tech("production", target)


# --- other workloads ------------------------------------------------------------------------------


@pytest.mark.parametrize("target", [Target.DOCKER, Target.KUBERNETES], ids="on-{}".format)
def test_jobs_volumes_and_what_is_not_published(target: Target) -> None:
    told = deployed(
        target,
        api=Workload(
            image="api:1",
            healthcheck=Healthcheck(test=["CMD-SHELL", "curl -f localhost || exit 1"]),
            ports=[Port(target=80)],
            volumes=[Volume(name="files", target="/files", size="3Gi")],
        ),
    )
    [heading] = re.findall(r"^## (System .*)$", told, re.MULTILINE)
    found = {row[0]: row for row in rows(told, heading)}
    assert list(found) == ["api", "postgres"]
    assert r"curl -f localhost \|\| exit 1, every " in found["api"][5]
    assert found["api"][6].endswith(" at /files")
    if target is Target.KUBERNETES:
        assert found["api"][6] == "3Gi at /files"
    assert below(told, "Reached from outside") == "Nothing is."


# --- NutriFitCoach: networks, files, an edge ------------------------------------------------------


@cache
def nutrifitcoach(target: str, mode: str = "self_signed") -> str:
    tls: dict[str, Json] = {"mode": mode}
    if mode == "digitalocean":
        tls["certificate_id"] = "892071a0-bb95-49bc-8021-3afd67a210bf"
    config: dict[str, Json] = {
        "tiers:systems": ["nutrifitcoach"],
        "tiers:tls": {"nutrifitcoach": tls},
        "tiers:domains": {"nutrifitcoach": "coach.example.com"},
    }
    return report(recorded("production", target, **config), "dev")


def tables(told: str, heading: str) -> list[list[list[str]]]:
    """The rows of all tables below a heading that begins like this."""
    [body] = re.findall(rf"^## {heading}.*?$(.*?)(?=^## |\Z)", told, re.MULTILINE | re.DOTALL)
    blocks = [block for block in body.split("\n\n") if block.startswith("|")]
    return [
        [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines[2:]]
        for lines in (block.splitlines() for block in blocks)
    ]


def test_networks_and_files_on_docker() -> None:
    services, placed = tables(nutrifitcoach("docker"), "System nutrifitcoach")
    found = {row[0]: row for row in services}
    assert list(found) == ["api", "migrations", "minio", "nginx", "postgres", "redis", "worker"]
    assert found["nginx"][1:5] == ["edge", "nginx:alpine", "1", "0.5 CPU, 128 MiB"]
    assert found["nginx"][6] == "dev-nutrifitcoach-nginx-logs (500Mi) at /var/log/nginx"
    assert found["api"][6].split("; ") == [
        "dev-nutrifitcoach-api-uploads (5Gi) at /app/data/uploads",
        "dev-nutrifitcoach-api-frames (10Gi) at /app/data/frames",
        "dev-nutrifitcoach-api-results (2Gi) at /app/data/results",
    ]
    data, edge = "dev-nutrifitcoach-data", "dev-nutrifitcoach-edge"
    assert {row[0]: row[1] for row in placed} == {
        "api": f"{data}, {edge} 172.28.0.20 172.28.0.21 172.28.0.22",
        "migrations": data,
        "minio": f"{data} 172.28.0.120, {edge}",
        "nginx": f"{edge} 172.28.0.10",
        "postgres": f"{data} 172.28.0.100",
        "redis": f"{data} 172.28.0.110",
        "worker": f"{data}, {edge} 172.28.0.30 172.28.0.31 172.28.0.32",
    }
    files = {row[0]: row[2] for row in placed}
    assert files["nginx"].split(", ") == [
        "/run/configs/nginx.conf",
        "/run/configs/start.sh",
        "/run/configs/upstreams",
        "/run/secrets/tls.crt",
        "/run/secrets/tls.key",
    ]
    assert "/run/secrets/JWT_SECRET" in files["api"]


def test_networks_and_files_on_kubernetes() -> None:
    services, placed = tables(nutrifitcoach("kubernetes"), "System nutrifitcoach")
    found = {row[0]: row for row in services}
    assert found["worker"][3:5] == ["3", "2 CPU, 2048 MiB"]
    assert found["worker"][6].split("; ") == [
        "10Gi at /app/data/frames, scratch",
        "2Gi at /app/data/results, scratch",
    ]
    assert found["minio"][6] == "50Gi at /data, of each replica"
    # Dollar signs are doubled for Kubernetes only.
    assert r'"\$(find /tmp/heartbeat' in found["worker"][5]
    networks = {row[0]: row[1] for row in placed}
    assert (networks["nginx"], networks["api"], networks["redis"]) == ("edge", "data, edge", "data")


def test_secrets_in_files_are_told_by_the_names_of_the_files() -> None:
    told = {tuple(row[1:]) for row in rows(nutrifitcoach("docker"), "Secrets")}
    where = "file in /run/secrets"
    assert {("api", "JWT_SECRET", where), ("nginx", "tls.key", where)} <= told
    assert not any(name.endswith("-files") for name, _, _ in told)
    told = {tuple(row[1:]) for row in rows(nutrifitcoach("kubernetes"), "Secrets")}
    assert ("api", "JWT_SECRET", "Secret api-files") in told
    for target in ("docker", "kubernetes"):
        assert "__secret" not in nutrifitcoach(target)
        assert "@postgres" not in nutrifitcoach(target)


@pytest.mark.parametrize(
    ("target", "mode", "scheme", "told"),
    [
        ("docker", "self_signed", "https", "self-signed"),
        ("docker", "lets_encrypt", "https", "Let's Encrypt"),
        ("docker", "off", "http", "none"),
        ("kubernetes", "self_signed", "https", "self-signed"),
        ("digitalocean", "digitalocean", "https", "ended by DigitalOcean's load balancer"),
    ],
)
def test_the_edge_is_told_with_its_url_and_its_certificate(
    target: str, mode: str, scheme: str, told: str
) -> None:
    [row] = rows(nutrifitcoach(target, mode), "Reached from outside")
    assert row[:2] == ["nutrifitcoach", "nginx"]
    assert row[3:] == [f"{scheme}://coach.example.com", told]


def test_an_autoscaler_is_told() -> None:
    scaled = Workload(image="api:1", autoscale=Autoscale(min=2, max=5, cpu=60))
    told = deployed(Target.KUBERNETES, api=scaled)
    [services] = tables(told, "System shop")
    assert services[0][3] == "2-5, at 60 % of the requested CPU"


# --- DigitalOcean ---------------------------------------------------------------------------------

PROGRAM = "urn:pulumi:dev::tiers::"


def resource(token: str, name: str, inputs: Json, parent: str = "stack") -> Resource:
    return Resource(f"{PROGRAM}{token}::{name}", token, name, f"{PROGRAM}x::{parent}", inputs, ())


def cloud(*more: Resource, size: str = "s-2vcpu-4gb") -> Recording:
    return Recording(
        [
            resource(
                "digitalocean:index/kubernetesCluster:KubernetesCluster",
                "cluster",
                {"ha": False, "nodePool": {"size": size, "nodeCount": 2}},
            ),
            resource("digitalocean:index/vpc:Vpc", "vpc", {"name": "vpc"}),
            *more,
        ]
    )


DATABASE = resource(
    "digitalocean:index/databaseCluster:DatabaseCluster",
    "shop-data-postgres",
    {
        "engine": "pg",
        "version": "15",
        "size": "db-s-1vcpu-1gb",
        "nodeCount": 1,
        "region": "nyc1",
        "name": "dev-shop-postgres",
        "tags": ["tiers-stack:dev", "tiers-system:shop", "tiers-service:postgres"],
    },
    parent="DataTier::shop-data",
)
BUCKETS = [
    resource("digitalocean:index/spacesBucket:SpacesBucket", name, {"name": name})
    for name in ("one", "two")
]


def test_prices_and_where_they_stand() -> None:
    told = report(cloud(DATABASE, *BUCKETS), "dev")
    assert rows(told, "Price") == [
        ["shop-data-postgres", "pg, 1 node db-s-1vcpu-1gb", "15.15"],
        ["cluster", "2 nodes s-2vcpu-4gb", "48.00"],
        ["one", "Spaces subscription", "5.00"],
        ["two", "Spaces subscription", "see above"],
    ]
    assert "\nTogether: **68.15 USD a month**.\n" in told
    sources = re.findall(r"^- .*: <(https://\S+)>, \d{4}-\d\d-\d\d$", told, re.MULTILINE)
    assert len(sources) == 3
    assert all("digitalocean" in source for source in sources)


def test_managed_databases_are_told_with_their_system() -> None:
    told = report(cloud(DATABASE), "dev")
    assert rows(told, "System shop") == [["postgres", "pg, 1 node db-s-1vcpu-1gb", "15", "nyc1"]]


def test_what_has_no_price_makes_it_at_least() -> None:
    droplet = resource("digitalocean:index/droplet:Droplet", "vm", {})
    told = report(cloud(droplet), "dev")
    assert ["vm", "Droplet", "unknown"] in rows(told, "Price")
    assert "Together: **at least 48.00 USD a month**." in told
    own = report(cloud(size="z-1"), "dev", {"z-1": 10.0})
    assert "Together: **20.00 USD a month**." in own
    assert "With prices of this stack's own for z-1." in own


def test_an_existing_cluster_is_not_counted() -> None:
    config = {
        "tiers:target": "digitalocean",
        "tiers:digitalocean": {
            "cluster_id": "82c89726-23a3-4b16-9082-03cee0a8425a",
            "cluster_name": "k8s-bootcamp-2",
        },
    }
    told = report(record(main, project="tiers", stack="dev", config=config), "dev")
    assert "Together: **30.15 USD a month**.\n\nThe nodes of the existing cluster are not" in told
    made = {"tiers:target": "digitalocean"}
    assert "existing cluster" not in report(
        record(main, project="tiers", stack="dev", config=made), "dev"
    )


def test_volumes_and_load_balancers_cost_only_on_digitalocean() -> None:
    labels = {"tiers.system": "shop", "tiers.service": "web"}
    service = resource(
        "kubernetes:core/v1:Service",
        "web",
        {
            "metadata": {"name": "web", "namespace": "shop", "labels": labels},
            "spec": {"type": "LoadBalancer", "ports": [{"port": 80, "targetPort": 8000}]},
        },
    )
    assert ["web", "network load balancer", "15.00"] in rows(report(cloud(service), "dev"), "Price")
    assert "USD" not in report(Recording([service]), "dev")


# --- secrets of programs that are not ours --------------------------------------------------------


def test_a_variable_without_a_name_is_not_told() -> None:
    container = resource(
        "docker:index/container:Container",
        "x",
        {
            "name": "x",
            "image": "x:1",
            "envs": [Secret(PASSWORD), Secret(f"TOKEN={PASSWORD}"), secret_placeholder("a")],
        },
    )
    told = report(Recording([container]), "dev")
    assert rows(told, "Secrets") == [["-", "-", "TOKEN", "environment"]]
    assert PASSWORD not in told
    assert "__secret" not in told


def test_secrets_keep_their_values_whatever_holds_them() -> None:
    secret = resource(
        "kubernetes:core/v1:Secret",
        "x",
        {
            "metadata": {"name": "x", "namespace": "n"},
            "data": {"B": Secret(PASSWORD)},
            "stringData": Secret({"A": PASSWORD}),
        },
    )
    told = report(Recording([secret]), "dev")
    assert [row[2:] for row in rows(told, "Secrets")] == [["A", "Secret x"], ["B", "Secret x"]]
    assert PASSWORD not in told


def test_a_stack_without_anything() -> None:
    told = report(Recording(), "dev")
    assert below(told, "Secrets") == "Nothing holds any."
    assert below(told, "Reached from outside") == "Nothing is."


# --- Markdown -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ("a|b", r"a\|b"),
        ("a\\|b", r"a\\\|b"),
        ("two\n  lines", "two lines"),
        ("<b>*x*</b> `y`", r"\<b\>\*x\*\</b\> \`y\`"),
        ("DATABASE_URL", "DATABASE_URL"),
        ("__init__ _x_", r"\_\_init\_\_ \_x\_"),
        ("${a.b}", r"\${a.b}"),
        ("", "-"),
        (None, "-"),
        (0, "0"),
    ],
)
def test_a_text_means_itself(value: object, written: str) -> None:
    assert text(value) == written


def test_a_table_has_the_same_number_of_cells_in_each_row() -> None:
    [told] = table("A|B", [["x|y", "z"], ["", "\\"]])
    assert told.splitlines() == ["| A | B |", "|---|---|", r"| x\|y | z |", r"| - | \\ |"]
    assert list(table("A|B", [])) == []
    assert list(table("A|B", [], "Nothing.")) == ["Nothing."]


# --- the command ----------------------------------------------------------------------------------


def test_the_command_writes_it(tmp_path: Path) -> None:
    rendered = renders.render(Project.find(ROOT), "dev", "report", {})
    assert rendered.text.startswith("# Stack dev\n")
    assert rendered.write(tmp_path) == [tmp_path / "report.md"]
    assert (tmp_path / "report.md").read_text(encoding="utf-8") == rendered.text
