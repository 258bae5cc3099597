"""What the document of Vision says, seen in the recorded resources.

Numbers with a letter before them are entries of docs/contradictions.md.
"""

import re
from functools import cache

import pytest
import yaml
from pulumi_tiers.render.details import files
from pulumi_tiers.render.recorder import Recording
from test_systems import containers, objects, one, pods, text_of, with_config

TLS = {"vision": {"mode": "self_signed"}}


@cache
def vision(environment: str = "production", target: str = "docker") -> Recording:
    more: dict[str, object] = {}
    if environment == "production":
        more = {"tls": TLS, "domains": {"vision": "vision.example.com"}}
    return with_config("vision", environment, target, **more)


BOTH = pytest.mark.parametrize("environment", ["development", "production"])


def services(recording: Recording) -> set[str]:
    return {item.labels["tiers.service"] for item in containers(recording)}


def published(recording: Recording) -> set[tuple[str, int, int]]:
    return {
        (item.labels["tiers.service"], port["external"], port["internal"])
        for item in containers(recording)
        for port in item.inputs["ports"] or []
    }


def test_development_has_the_five_documented_services_and_their_ports() -> None:
    recording = vision("development")
    assert {"vision-api", "redis", "postgres", "prometheus", "grafana"} <= services(recording)
    # VI-11: no logs here.
    assert not services(recording) & {"elasticsearch", "kibana", "logstash", "nginx"}
    assert published(recording) == {
        *{("vision-api", 8000, 8000), ("vision-api", 8080, 8080)},
        *{("redis", 6379, 6379), ("postgres", 5432, 5432)},
        *{("prometheus", 9090, 9090), ("grafana", 3000, 3000)},
        # Ours.
        ("alertmanager", 9093, 9093),
    }


def test_production_has_logs_and_an_edge_and_publishes_nothing_else() -> None:
    recording = vision()
    assert {"elasticsearch", "kibana", "logstash", "nginx"} <= services(recording)
    assert published(recording) == {("nginx", 80, 8080), ("nginx", 443, 8443)}


@BOTH
def test_images_are_the_documented_ones(environment: str) -> None:
    recording = vision(environment)
    images = {name: one(recording, name).inputs["image"] for name in services(recording)}
    assert images["redis"] == "redis:7-alpine"
    assert images["postgres"] == "postgres:15-alpine"
    if environment == "production":
        assert images["elasticsearch"] == "docker.elastic.co/elasticsearch/elasticsearch:8.8.0"
        # VI-10: all of one version.
        for name in ("kibana", "logstash"):
            assert images[name].endswith(":8.8.0"), name
    # `latest` moves: pinned.
    for name in ("prometheus", "grafana"):
        assert re.search(r"(prom/prometheus|grafana/grafana):v?[\d.]+$", images[name]), name


@pytest.mark.parametrize(
    ("environment", "variables"),
    [
        (
            "development",
            {
                "ENVIRONMENT": "development",
                "API_RELOAD": "true",
                "DEBUG": "true",
                "POSTGRES_DB": "vision_dev_db",
            },
        ),
        (
            "production",
            {
                "ENVIRONMENT": "production",
                "API_RELOAD": "false",
                "DEBUG": "false",
                "POSTGRES_DB": "vision_prod_db",
                "ENABLE_HTTPS": "true",
            },
        ),
    ],
)
def test_variables_are_the_documented_ones(environment: str, variables: dict[str, str]) -> None:
    found = one(vision(environment), "vision-api")
    assert variables.items() <= found.environment.items()
    assert ("ENABLE_HTTPS" in found.environment) is (environment == "production")
    # VI-05: what both files have, and what neither has.
    assert {"SECRET_KEY", "POSTGRES_PASSWORD", "REDIS_PASSWORD"} <= set(
        found.secrets_in_environment
    )
    # VI-05, VI-06: the documented user, and where it finds its stores.
    ours = {"POSTGRES_USER": "vision_user", "POSTGRES_HOST": "postgres", "REDIS_HOST": "redis"}
    assert ours.items() <= found.environment.items()
    server = one(vision(environment), "postgres").environment
    assert server["POSTGRES_DB"] == variables["POSTGRES_DB"]


def test_development_reloads_its_program() -> None:
    assert one(vision("development"), "vision-api").inputs["command"][-1] == "--reload"
    assert one(vision(), "vision-api").inputs["command"] == [
        "python",
        "-m",
        "vision.api.api_server",
    ]


def test_the_checkout_is_mounted_in_development(tmp_path: object) -> None:
    recording = with_config("vision", "development", "docker", sources={"vision": str(tmp_path)})
    mounts = one(recording, "vision-api").inputs["mounts"]
    assert {"type": "bind", "source": str(tmp_path), "target": "/app"}.items() <= next(
        mount for mount in mounts if mount["type"] == "bind"
    ).items()
    [build] = [
        item.inputs["build"]
        for item in recording.of_type("docker:index/remoteImage:RemoteImage")
        if item.inputs.get("build")
    ]
    assert build["dockerfile"] == "Dockerfile.dev"


def test_production_has_the_documented_limits_and_reservations() -> None:
    api = one(vision(), "vision-api").inputs
    assert (float(api["cpus"]), api["memory"], api["memoryReservation"]) == (2.0, 2048, 1024)
    elasticsearch = one(vision(), "elasticsearch")
    assert (float(elasticsearch.inputs["cpus"]), elasticsearch.inputs["memory"]) == (1.0, 2048)
    assert elasticsearch.environment["ES_JAVA_OPTS"].startswith("-Xms1024m -Xmx1024m")
    asked = pods(vision(target="kubernetes"))["vision-api"]["spec"]["containers"][0]["resources"]
    assert asked["limits"] == {"cpu": "2000m", "memory": "2048Mi"}
    assert asked["requests"] == {"cpu": "1000m", "memory": "1024Mi"}


def test_development_has_limits_of_ours_and_production_starts_again() -> None:
    """2.13: the document limits nothing in development; VI-16: it claims that all start again."""
    api = one(vision("development"), "vision-api").inputs
    assert (float(api["cpus"]), api["memory"]) == (1.0, 1024)
    assert {item.inputs["restart"] for item in containers(vision())} == {"unless-stopped"}


@pytest.mark.parametrize(
    ("service", "path"),
    [
        ("postgres", "/var/lib/postgresql/data"),
        ("redis", "/data"),
        ("elasticsearch", "/usr/share/elasticsearch/data"),
        ("prometheus", "/prometheus"),
        ("grafana", "/var/lib/grafana"),
    ],
)
def test_what_is_kept_is_on_a_volume(service: str, path: str) -> None:
    """VI-07."""
    mounts = {mount["target"]: mount for mount in one(vision(), service).inputs["mounts"]}
    assert (mounts[path]["type"], mounts[path]["source"]) == (
        "volume",
        f"dev-vision-{service}-data",
    )


@pytest.mark.parametrize(
    ("service", "ports"),
    [
        ("vision-api", {8000, 8080}),
        ("prometheus", {9090}),
        ("grafana", {3000}),
        ("elasticsearch", {9200}),
        ("kibana", {5601}),
    ],
)
def test_panels_listen_where_they_are_documented(service: str, ports: set[int]) -> None:
    """L315-329: under these names and ports, in the system's own network."""
    [found] = [
        item
        for item in objects(vision(target="kubernetes"), "Service")
        if item["metadata"]["name"] == service
    ]
    assert {port["port"] for port in found["spec"]["ports"]} == ports
    assert found["spec"].get("type", "ClusterIP") == "ClusterIP"


def test_a_container_can_have_its_documented_name() -> None:
    """VI-15."""
    recording = with_config(
        "vision", "production", "docker", tls=TLS, names="documented", host_ips={}
    )
    assert one(recording, "vision-api").inputs["name"] == "vision-api"


@BOTH
def test_health_is_asked_with_the_documented_numbers(environment: str) -> None:
    check = one(vision(environment), "vision-api").inputs["healthcheck"]
    assert check["tests"] == ["CMD", "curl", "-f", "http://localhost:8000/health"]
    assert (check["interval"], check["timeout"], check["retries"]) == ("30s", "10s", 3)


# --- 2.8: the edge --------------------------------------------------------------------------------


def test_the_edge_is_the_documented_server_and_starts() -> None:
    """VI-02, VI-03, VI-04, VI-17."""
    config = text_of(vision(), "vision", "nginx", "/run/configs/nginx.conf")
    for line in (
        r"limit_req_zone \S+ zone=api:10m rate=10r/s;",
        r"limit_req zone=api burst=20 nodelay;",
        r"keepalive 32;",
        r"proxy_http_version 1\.1;",
        r"events \{",
        r"listen 8443 ssl",
        r"location = /health \{",
        r"add_header X-Frame-Options ",
        r"DENY",
        r"add_header X-Content-Type-Options ",
        r"nosniff",
    ):
        assert re.search(line, config), line
    [metrics] = re.findall(r"location = /metrics \{(.*?)\n        \}", config, re.DOTALL)
    assert "deny all;" in metrics
    [api] = re.findall(r"location /api/ \{(.*?)\n        \}", config, re.DOTALL)
    # A trailing slash: the prefix is taken away.
    assert "proxy_pass http://vision-api/;" in api


def test_https_is_mandatory_in_production() -> None:
    with pytest.raises(Exception, match=r"tiers:tls\.vision: is missing"):
        with_config("vision", "production", "docker")


# --- 2.9: monitoring ------------------------------------------------------------------------------


@pytest.mark.parametrize("environment", ["development", "production"])
def test_prometheus_asks_as_often_as_documented(environment: str) -> None:
    """VI-01: Postgres through an exporter, under its name."""
    text = text_of(vision(environment), "vision", "prometheus", "/run/configs/prometheus.yml")
    config = yaml.safe_load(text)
    assert config["global"]["scrape_interval"] == config["global"]["evaluation_interval"] == "15s"
    jobs = {job["job_name"]: job for job in config["scrape_configs"]}
    api = jobs["vision-api"]
    assert (api["scrape_interval"], api.get("metrics_path", "/metrics")) == ("10s", "/metrics")
    assert "vision-api:8000" in str(api)
    assert jobs["postgres"]["scrape_interval"] == "30s"
    assert "postgres-exporter:9187" in str(jobs["postgres"])
    assert "postgres:5432" not in text


def test_grafana_has_the_documented_source_and_dashboards() -> None:
    found = {
        file.path: file.text
        for file in files(vision())["vision", "grafana"]
        if file.path.startswith("/run/configs/")
    }
    [source] = [
        item
        for text in found.values()
        if "datasources:" in text
        for item in yaml.safe_load(text)["datasources"]
        if item["type"] == "prometheus"
    ]
    documented = {
        "name": "Prometheus",
        "type": "prometheus",
        "access": "proxy",
        "isDefault": True,
        "url": "http://prometheus:9090",
    }
    assert documented.items() <= source.items()
    titles = {
        title for text in found.values() for title in re.findall(r'"title": ?"([^"]+)"', text)
    }
    assert {"Visão Geral", "Performance", "Recursos", "Aplicação", "Infraestrutura"} <= titles


def test_nobodys_password_is_admin() -> None:
    """VI-05."""
    grafana = one(vision("development"), "grafana")
    assert "GF_SECURITY_ADMIN_PASSWORD=admin" not in str(grafana.inputs["envs"])
    assert "GF_SECURITY_ADMIN_PASSWORD__FILE" in grafana.environment


def test_kubernetes_has_the_same() -> None:
    """VI-19: the document's future."""
    found = set(pods(vision(target="kubernetes")))
    assert {"vision-api", "postgres", "redis", "elasticsearch", "nginx", "prometheus"} <= found
