"""What the document of OColecionador says, seen in the recorded resources.

Numbers with a letter before them are entries of docs/contradictions.md.
"""

import re
from functools import cache
from typing import Any

import pytest
from pulumi_tiers.model.errors import DescriptionError
from pulumi_tiers.plan import make_plan
from pulumi_tiers.render.recorder import Json, Recording, placeholders
from pulumi_tiers.settings import read_settings
from test_systems import containers, objects, one, pods, text_of, with_config

BASE = {
    *("sqlserver", "postgres", "redis", "minio", "rabbitmq"),
    *("ocolecionadorbackend", "ocolecionadorfrontend", "nginx"),
    *("metabase", "glitchtip", "glitchtip-worker"),
}
AUTOMATIC = {"ocolecionadoraugmentations", "ocolecionadorclassifier"}
TRAINING = "ocolecionadortraining"
#: Its name → its image's. OC-24: the document pushes the first three.
PROGRAMS = {
    "backend": "backend",
    "frontend": "frontend",
    "augmentations": "augmentations",
    "classifier": "classifier",
    "training": "training",
}
#: OC-12, OC-10: GlitchTip's migrations and pgAdmin beside the 16 documented ones.
EVERY_PROFILE = ["automatic", "manual", "portainer", "metabase", "glitchtip", "ngrok", "pgadmin"]
TOKEN: Json = {"ocolecionador/NGROK_AUTHTOKEN": "2aB3cD4eF5gH6iJ7kL8m"}


@cache
def everything(environment: str = "production", target: str = "docker") -> Recording:
    """All 16 documented services, and pgAdmin."""
    return with_config(
        "ocolecionador",
        environment,
        target,
        profiles={"ocolecionador": EVERY_PROFILE},
        # On Kubernetes, nobody asks for it.
        secrets=TOKEN if target == "docker" else {},
        domains={"ocolecionador": "shop.example.com"},
    )


@cache
def plain(environment: str, target: str = "docker") -> Recording:
    return with_config(
        "ocolecionador", environment, target, domains={"ocolecionador": "shop.example.com"}
    )


def services(recording: Recording) -> set[str]:
    return {item.labels["tiers.service"] for item in containers(recording)}


# --- 1.2, 1.11: services and profiles -------------------------------------------------------------


def test_all_sixteen_services_are_there() -> None:
    found = services(everything()) | {TRAINING}
    # OC-10: pgAdmin is in the table of panels only.
    assert found == BASE | AUTOMATIC | {TRAINING, "portainer", "ngrok", "pgadmin"}
    assert len(found) == 16 + 1


def test_profiles_do_what_the_text_means() -> None:
    """OC-07: development has the base, production the classifier and the augmentations too."""
    assert services(plain("development")) == BASE
    assert services(plain("production")) == BASE | AUTOMATIC
    manual = with_config(
        "ocolecionador", "development", "docker", profiles={"ocolecionador": ["manual"]}
    )
    assert services(manual) - {TRAINING} == BASE - {"metabase", "glitchtip", "glitchtip-worker"}
    with pytest.raises(Exception, match="'ocolecionador' has no profile 'automatik'"):
        with_config(
            "ocolecionador", "development", "docker", profiles={"ocolecionador": ["automatik"]}
        )


@pytest.mark.parametrize(
    ("service", "image"),
    [
        ("sqlserver", r"mcr\.microsoft\.com/mssql/server:2022-.+"),
        ("postgres", "postgres:15"),
        ("redis", "redis:7"),
        ("minio", r"quay\.io/minio/minio:RELEASE\.[\dTZ-]+"),
        ("rabbitmq", "rabbitmq:3-management"),
        ("nginx", "nginx:alpine"),
        ("metabase", r"metabase/metabase:v[\d.]+"),
        ("glitchtip", r"glitchtip/glitchtip:[\d.]+"),
        ("glitchtip-worker", r"glitchtip/glitchtip:[\d.]+"),
        ("portainer", r"portainer/portainer-ce:[\d.]+(-alpine)?"),
        ("ngrok", r"ngrok/ngrok:[\d.]+(-alpine)?"),
        ("pgadmin", r"dpage/pgadmin4:[\d.]+"),
        *(
            (f"ocolecionador{part}", f"patrickcaloriocarvalho/ocolecionador-{image}:latest")
            for part, image in PROGRAMS.items()
        ),
    ],
)
def test_the_images_are_the_documented_ones_pinned_where_they_moved(
    service: str, image: str
) -> None:
    assert re.fullmatch(image, one(everything(), service).inputs["image"])


def test_ports_are_the_documented_ones_and_none_stands_twice() -> None:
    """OC-01: GlitchTip keeps 8000, and Portainer's is 9443 alone."""
    published = {
        (item.labels["tiers.service"], port["external"], port["internal"])
        for item in containers(everything("development"))
        for port in item.inputs["ports"] or []
    }
    assert published == {
        *{("sqlserver", 1433, 1433), ("postgres", 5432, 5432), ("redis", 6379, 6379)},
        *{("minio", 9000, 9000), ("minio", 9001, 9001)},
        *{("rabbitmq", 5672, 5672), ("rabbitmq", 15672, 15672)},
        *{("ocolecionadorbackend", 5000, 8080), ("ocolecionadorfrontend", 5002, 5002)},
        ("ocolecionadorclassifier", 5001, 5001),
        *{("nginx", 80, 8080), ("nginx", 443, 8443)},
        *{("ngrok", 4040, 4040), ("portainer", 9443, 9443)},
        *{("metabase", 3000, 3000), ("glitchtip", 8000, 8000), ("pgadmin", 5050, 5050)},
    }


def test_production_publishes_no_store() -> None:
    """OC-22."""
    for store in ("sqlserver", "postgres", "redis", "minio", "rabbitmq"):
        assert not one(everything(), store).inputs["ports"], store


@pytest.mark.parametrize(
    ("service", "stores"),
    [
        ("ocolecionadorbackend", {"sqlserver", "minio", "rabbitmq"}),
        ("ocolecionadoraugmentations", {"postgres", "minio", "rabbitmq"}),
        ("ocolecionadorclassifier", {"postgres", "minio"}),
        (TRAINING, {"postgres", "minio", "rabbitmq"}),
    ],
)
def test_who_waits_for_which_store(service: str, stores: set[str]) -> None:
    assert waits_for(service) == dict.fromkeys(stores, "service_healthy")


def waits_for(service: str) -> dict[str, str]:
    said = one(everything(), service).labels["tiers.depends_on"].split(",")
    return dict(item.split(":") for item in said)


def test_who_waits_for_whom() -> None:
    """The others of 1.2. An edge comes after what it leads to, and ngrok goes on trying."""
    assert waits_for("ocolecionadorfrontend") == {"ocolecionadorbackend": "service_started"}
    assert waits_for("metabase") == {"postgres": "service_healthy"}
    for service in ("glitchtip", "glitchtip-worker"):
        assert waits_for(service) == {
            "postgres": "service_healthy",
            # OC-12: its queue, and who makes its tables. Source maps are kept.
            "redis": "service_healthy",
            "minio": "service_healthy",
            "glitchtip-migrate": "service_completed_successfully",
        }
    edge = one(everything(), "nginx").resource
    waited = {urn.rpartition("::")[2] for urn in edge.depends_on}
    for service in ("backend", "frontend"):
        assert f"ocolecionador-app-ocolecionador{service}" in waited


def test_commands_are_the_documented_ones() -> None:
    recording = everything()
    assert one(recording, "minio").inputs["command"] == [
        *("server", "/data", "--console-address"),
        ":9001",
    ]
    assert "appendonly yes" in one(recording, "redis").environment["REDIS_CONF"].splitlines()
    # OC-12, OC-29: Celery's application isn't there, and the configuration is of version 3.
    assert one(recording, "glitchtip-worker").inputs["command"] == ["./bin/run-worker.sh"]
    [script] = one(recording, "ngrok").inputs["command"]
    assert "exec ngrok start --all --config=/run/configs/ngrok.yml " in script


@pytest.mark.parametrize(
    ("service", "volume", "path"),
    [
        ("sqlserver", "sqlserver-data", "/var/opt/mssql"),
        ("postgres", "postgres-data", "/var/lib/postgresql/data"),
        ("redis", "redis-data", "/data"),
        ("minio", "minio-data", "/data"),
        ("rabbitmq", "rabbitmq-data", "/var/lib/rabbitmq"),
        ("portainer", "portainer-data", "/data"),
    ],
)
def test_the_documented_volumes_are_where_they_are_documented(
    service: str, volume: str, path: str
) -> None:
    mounts = {mount["target"]: mount for mount in one(everything(), service).inputs["mounts"]}
    assert mounts[path]["source"] == f"dev-ocolecionador-{volume}"
    assert not mounts[path].get("readOnly")


def test_there_is_one_network() -> None:
    """1.5, OC-22: a bridge for all of them, and no address is anybody's own."""
    [network] = everything().of_type("docker:index/network:Network")
    assert network.inputs.get("driver", "bridge") == "bridge"
    for item in containers(everything()):
        assert list(item.addresses.values()) == [None], item.labels["tiers.service"]


def test_who_starts_again_always() -> None:
    """OC-20: the four that say so; all others as long as nobody stops them."""
    for item in containers(everything()):
        name = item.labels["tiers.service"]
        if name == TRAINING:
            continue
        always = name in AUTOMATIC | {"ocolecionadorbackend", "ocolecionadorfrontend"}
        assert item.inputs["restart"] == ("always" if always else "unless-stopped"), name


@pytest.mark.parametrize(
    ("service", "interval", "timeout", "retries"),
    [
        ("sqlserver", "10s", "3s", 10),
        ("postgres", "10s", "3s", 5),
        ("redis", "10s", "3s", 5),
        ("minio", "10s", "3s", 5),
        ("rabbitmq", "10s", "3s", 5),
    ],
)
def test_health_checks_have_the_documented_numbers(
    service: str, interval: str, timeout: str, retries: int
) -> None:
    """1.6; OC-32: with a start period besides."""
    check = one(everything(), service).inputs["healthcheck"]
    assert (check["interval"], check["timeout"], check["retries"]) == (interval, timeout, retries)
    assert check["startPeriod"] not in (None, "0s")


# --- 1.3: variables -------------------------------------------------------------------------------


def test_the_documented_variables_are_there() -> None:
    recording = everything()
    backend = one(recording, "ocolecionadorbackend").environment
    assert backend["ASPNETCORE_ENVIRONMENT"] == "Production"
    for service in ("ocolecionadoraugmentations", TRAINING):
        found = one(recording, service).environment
        hosts = {"POSTGRES_HOST": "postgres", "MINIO_HOST": "minio", "RABBITMQ_HOST": "rabbitmq"}
        assert hosts.items() <= found.items()
        assert found["CUDA_VISIBLE_DEVICES"] == "0"
    classifier = one(recording, "ocolecionadorclassifier").environment
    assert classifier["POSTGRES_HOST"] == "postgres"
    assert classifier["MODEL_PATH"] == "/app/models/v2"
    assert classifier["MINIO_HOST"] == "minio"
    metabase = one(recording, "metabase")
    documented = {
        "MB_DB_TYPE": "postgres",
        "MB_DB_DBNAME": "metabase",
        "MB_DB_HOST": "postgres",
        "MB_DB_PORT": "5432",
    }
    assert documented.items() <= metabase.environment.items()
    assert "MB_DB_USER" in metabase.environment
    assert "MB_DB_PASS" in metabase.secrets_in_environment
    for service in ("glitchtip", "glitchtip-worker"):
        found_there = one(recording, service)
        assert {"DATABASE_URL", "SECRET_KEY"} <= set(found_there.secrets_in_environment)
        # OC-12: it is asked on localhost, too.
        hosts_allowed = found_there.environment["ALLOWED_HOSTS"].split(",")
        assert {"glitchtip", "localhost"} <= set(hosts_allowed)
    assert one(recording, "ngrok").secrets_in_environment == ["NGROK_AUTHTOKEN"]
    sqlserver = one(recording, "sqlserver").environment
    assert (sqlserver["MSSQL_PID"], sqlserver["ACCEPT_EULA"]) == ("Express", "Y")
    # The sample of OC_AUTH_USER.
    for service, variable in (
        ("postgres", "POSTGRES_USER"),
        ("minio", "MINIO_ROOT_USER"),
        ("rabbitmq", "ADMIN"),
    ):
        assert one(recording, service).environment[variable] == "OColecionadorUser"


def test_each_program_has_a_database_of_its_own() -> None:
    """OC-11: and where its profile is off, there is none."""

    def made(recording: Recording) -> str:
        return str(one(recording, "postgres-setup").inputs)

    assert one(everything(), "postgres").environment["POSTGRES_DB"] == (
        "OColecionadorAugmentationsDB"
    )
    for name in ("OColecionadorAugmentationsDB", "glitchtip", "metabase"):
        assert f'"{name}"' in made(everything()), name
    without = with_config(
        "ocolecionador", "development", "docker", profiles={"ocolecionador": ["metabase"]}
    )
    assert '"metabase"' in made(without)
    assert '"glitchtip"' not in made(without)


@pytest.mark.parametrize("target", ["docker", "kubernetes"])
def test_source_maps_of_glitchtip_are_kept(target: str) -> None:
    """In a bucket that its profile brings along."""

    def made(recording: Recording) -> str:
        found = containers(recording, "minio-setup") if target == "docker" else None
        return str(found[0].inputs if found else pods(recording)["minio-setup"])

    assert "site/glitchtip" in made(everything(target=target))
    without = with_config(
        *("ocolecionador", "development", target),
        profiles={"ocolecionador": ["metabase"]},
        domains={"ocolecionador": "shop.example.com"},
    )
    assert "site/glitchtip" not in made(without)
    assert "site/models" in made(without)


def test_no_password_is_shared() -> None:
    """OC-16."""
    names = {
        item.name for item in everything().of_type("random:index/randomPassword:RandomPassword")
    }
    for store in ("sqlserver-sa", "postgres-OColecionadorUser", "rabbitmq-OColecionadorUser"):
        assert any(store.lower() in name.lower() for name in names), (store, names)
    assert len(names) >= 12


def test_what_is_declared_and_used_by_nobody_can_be_set() -> None:
    """OC-13, OC-14."""
    dsn = "http://3f0c9d1e5b7a4826@glitchtip:8000/3"
    recording = with_config(
        "ocolecionador",
        "production",
        "docker",
        domains={"ocolecionador": "shop.example.com"},
        variables={"ocolecionador/OC_GITHUB_CLIENT_ID": "me"},
        secrets={"ocolecionador/SENTRY_DSN": dsn},
    )
    backend = one(recording, "ocolecionadorbackend")
    assert backend.environment["OC_GITHUB_CLIENT_ID"] == "me"
    for service in ("ocolecionadorbackend", "ocolecionadorclassifier"):
        assert "SENTRY_DSN" in one(recording, service).secrets_in_environment


def test_build_arguments_of_the_frontend_come_from_the_stack(tmp_path: Any) -> None:
    """OC-25."""
    recording = with_config(
        "ocolecionador",
        "development",
        "docker",
        sources={"ocolecionador": str(tmp_path)},
        variables={"ocolecionador/GITHUB_CLIENT_ID": "abc"},
    )
    builds = {
        item.name: item.inputs["build"]
        for item in recording.of_type("docker:index/remoteImage:RemoteImage")
        if item.inputs.get("build")
    }
    [frontend] = [build for name, build in builds.items() if "frontend" in name]
    assert frontend["buildArgs"] == {"GITHUB_CLIENT_ID": "abc"}
    assert frontend["context"] == f"{tmp_path}/OColecionadorFrontEnd"
    assert len(builds) == 2  # the base; the others' profiles are off


# --- GPUs, training, the model --------------------------------------------------------------------


def test_two_services_compute_on_a_gpu() -> None:
    users = {
        item.labels["tiers.service"]
        for item in containers(everything())
        if item.inputs.get("deviceRequests")
    }
    assert users == {"ocolecionadoraugmentations", TRAINING}
    templates = pods(everything(target="kubernetes"))
    asked = {
        name
        for name, template in templates.items()
        for container in template["spec"]["containers"]
        if "nvidia.com/gpu" in container["resources"]["limits"]
    }
    assert "ocolecionadoraugmentations" in asked
    [job] = [
        item
        for item in objects(everything(target="kubernetes"), "CronJob")
        if item["metadata"]["name"] == TRAINING
    ]
    assert job["spec"]["suspend"] is True
    [container] = job["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"]
    assert container["resources"]["limits"]["nvidia.com/gpu"] in (1, "1")


def test_without_gpus_everything_computes_on_cpus() -> None:
    recording = with_config(
        "ocolecionador",
        "production",
        "docker",
        gpu="off",
        profiles={"ocolecionador": ["automatic", "manual"]},
    )
    for service in ("ocolecionadoraugmentations", TRAINING):
        found = one(recording, service)
        assert not found.inputs.get("deviceRequests")
        assert found.environment["CUDA_VISIBLE_DEVICES"] == ""


def test_training_waits_to_be_asked() -> None:
    """L827: no loop that sleeps."""
    training = one(everything(), TRAINING)
    assert training.inputs["command"] == ["python", "main.py"]
    assert training.inputs["start"] is False
    assert training.inputs["restart"] == "no"


def test_the_classifier_has_a_model_that_was_checked() -> None:
    """OC-31: it starts with none, until a stack names one that training has made."""
    named = with_config(
        "ocolecionador",
        "production",
        "docker",
        domains={"ocolecionador": "shop.example.com"},
        models={"ocolecionador/ocolecionadorclassifier/classifier": "v3"},
    )
    assert one(named, "ocolecionadorclassifier").environment["MODEL_PATH"] == "/app/models/v3"
    command = one(named, "ocolecionadorclassifier-init").inputs["command"]
    assert command == ["classifier", "v3", "/app/models", "models", "no"]
    command = one(plain("production"), "ocolecionadorclassifier-init").inputs["command"]
    assert command == ["classifier", "v2", "/app/models", "models", "yes"]


def test_on_kubernetes_a_model_is_swapped_without_a_gap() -> None:
    """New pods come first, are ready when the model is there and checked, and share no volume."""
    named = with_config(
        *("ocolecionador", "production", "kubernetes"),
        domains={"ocolecionador": "shop.example.com"},
        models={"ocolecionador/ocolecionadorclassifier/classifier": "v3"},
    )
    [classifier] = [
        item["spec"]
        for item in objects(named, "Deployment")
        if item["metadata"]["name"] == "ocolecionadorclassifier"
    ]
    assert classifier["strategy"] == {
        "type": "RollingUpdate",
        "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1},
    }
    pod = classifier["template"]["spec"]
    [fetches], [serves] = pod["initContainers"], pod["containers"]
    assert fetches["args"] == ["classifier", "v3", "/app/models", "models", "no"]
    assert serves["readinessProbe"]["httpGet"] == {"path": "/health", "port": 5001}
    [models] = [volume for volume in pod["volumes"] if volume["name"].endswith("-models")]
    assert "emptyDir" in models
    for container in (fetches, serves):
        mounts = {mount["mountPath"]: mount for mount in container["volumeMounts"]}
        assert mounts["/app/models"]["name"] == models["name"]
    assert {"name": "MODEL_PATH", "value": "/app/models/v3"} in serves["env"]


# --- 1.7: the edge --------------------------------------------------------------------------------


def edge(recording: Recording) -> str:
    return text_of(recording, "ocolecionador", "nginx", "/run/configs/nginx.conf")


def test_the_edge_leads_where_programs_listen() -> None:
    """OC-02, OC-06: and to the classifier where there is one."""
    upstreams = text_of(plain("production"), "ocolecionador", "nginx", "/run/configs/upstreams")
    lines = {tuple(line.split()) for line in upstreams.splitlines()}
    assert lines == {
        ("backend", "ocolecionadorbackend", "8080"),
        ("frontend", "ocolecionadorfrontend", "5002"),
        ("classifier", "ocolecionadorclassifier", "5001"),
    }
    assert "location /classifier" in edge(plain("production"))
    assert "classifier" not in edge(plain("development"))
    # Prefixes go through as they are.
    assert "location /api" in edge(plain("development"))
    assert "proxy_pass http://backend;" in edge(plain("development"))


def test_the_edge_compresses_the_documented_types() -> None:
    [types] = re.findall(r"gzip_types ([^;]*);", edge(plain("production")))
    assert types.split() == [
        "text/plain",
        "text/css",
        "application/json",
        "application/javascript",
        "text/xml",
        "application/xml",
    ]


def test_it_is_watched_where_a_stack_wants_it() -> None:
    assert "prometheus" not in services(plain("development"))
    watched = with_config(
        "ocolecionador", "development", "docker", observability={"ocolecionador": {}}
    )
    assert {"prometheus", "grafana", "rabbitmq", "sqlserver-exporter"} <= services(watched)
    ports = [
        port["external"] for item in containers(watched) for port in item.inputs["ports"] or []
    ]
    # Metabase has 3000.
    assert {3000, 3001} <= set(ports)
    assert len(set(ports)) == len(ports)


# --- where it can't be as documented --------------------------------------------------------------


def test_what_needs_docker_stays_away_from_kubernetes_and_is_told() -> None:
    recording = everything(target="kubernetes")
    found = set(pods(recording))
    assert not found & {"portainer", "ngrok"}
    assert found >= BASE | AUTOMATIC
    for name in ("portainer", "ngrok"):
        assert any(
            warning.startswith(f"ocolecionador: {name} is left out on kubernetes: ")
            for warning in recording.warnings
        )
    assert "docker.sock" not in str(recording.resources)


def test_only_portainer_has_the_daemons_socket_unless_a_stack_says_so() -> None:
    """OC-23."""

    def holders(recording: Recording) -> set[str]:
        return {
            item.labels["tiers.service"]
            for item in containers(recording)
            if "/var/run/docker.sock" in str(item.inputs)
        }

    assert holders(plain("production")) == set()
    assert holders(everything()) == {"portainer"}
    asked = with_config(
        "ocolecionador",
        "development",
        "docker",
        docker_sockets=["ocolecionador/ocolecionadorbackend"],
    )
    assert holders(asked) == {"ocolecionadorbackend"}


def test_secrets_of_tools_are_in_secrets_of_kubernetes_alone() -> None:
    """No pod, no file and no label holds one, or a part of one."""
    holders = {
        (item.type.rpartition(":")[2], item.name)
        for item in everything(target="kubernetes").resources
        if item.type.startswith("kubernetes:") and any(placeholders(item.inputs))
    }
    assert {kind for kind, _ in holders} == {"Secret"}, holders
    names = {name.removeprefix("ocolecionador-app-") for _, name in holders}
    assert {"glitchtip", "glitchtip-worker", "metabase"} <= names
    assert any("pgadmin" in name for name in names)


def test_ngrok_needs_its_token() -> None:
    with pytest.raises(DescriptionError, match="NGROK_AUTHTOKEN: is missing, and ngrok can't run"):
        make_plan(
            "dev",
            read_settings(
                {"tiers:systems": ["ocolecionador"], "tiers:profiles": {"ocolecionador": ["ngrok"]}}
            ),
        )
