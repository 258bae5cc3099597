"""The tools beside the systems' own programs: facts of their images, and that they fit together."""

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
from pulumi.errors import RunError
from pulumi_tiers.checks import check_systems
from pulumi_tiers.engines import ENGINES
from pulumi_tiers.engines.base import Consumer, Reached
from pulumi_tiers.model.image import Image
from pulumi_tiers.model.references import GENERATED, references, substitute
from pulumi_tiers.model.store import Database, Store
from pulumi_tiers.model.system import Environment, System, Target
from pulumi_tiers.model.workload import CONFIGS, SECRET_FILES, Condition, Workload
from pulumi_tiers.program import main
from pulumi_tiers.render.recorder import Json, Secret, record
from pulumi_tiers.tools import (
    Tunnel,
    flower,
    glitchtip,
    glitchtip_bucket,
    glitchtip_database,
    metabase,
    metabase_database,
    ngrok,
    pgadmin,
    portainer,
)

FRONTEND = {"frontend": Tunnel("nginx:8080", "louse-model-lioness.ngrok-free.app")}
TOOLS: dict[str, Workload] = {
    "flower": flower(),
    "metabase": metabase(),
    "ngrok": ngrok(FRONTEND),
    "pgadmin": pgadmin(),
    "portainer": portainer(),
    **glitchtip(minio="minio"),
}
EACH = pytest.mark.parametrize("name", TOOLS)


def system(target: Target) -> System:
    """With everything that the target can have."""
    services = {
        name: tool
        for name, tool in TOOLS.items()
        if target is Target.DOCKER or tool.docker_only is None
    }
    return System.model_validate(
        {
            "name": "tools",
            "title": "Tools",
            "environment": Environment.PRODUCTION,
            "stores": {
                "postgres": Store(
                    engine="postgres",
                    databases=[
                        Database(name="main", owner="main"),
                        metabase_database(),
                        glitchtip_database(),
                    ],
                ),
                "redis": Store(engine="redis"),
                "minio": Store(engine="minio", buckets=[glitchtip_bucket()]),
            },
            "services": services,
        }
    )


# --- all of them ----------------------------------------------------------------------------------


@pytest.mark.parametrize("target", list(Target))
def test_they_fit_together_on_every_target(target: Target) -> None:
    """References lead to stores, ports don't clash, names neither."""
    assert list(check_systems([system(target)], target)) == []


def test_what_only_docker_can_have() -> None:
    assert {name for name, tool in TOOLS.items() if tool.docker_only} == {"ngrok", "portainer"}


@EACH
def test_each_is_optional_by_its_own_profile(name: str) -> None:
    profile = "glitchtip" if name.startswith("glitchtip") else name
    assert TOOLS[name].profiles == [profile]


def test_a_database_is_made_with_its_tool_only() -> None:
    for database in (metabase_database(), glitchtip_database()):
        assert database.profiles == [database.name] == [database.owner]


@EACH
def test_each_image_is_pinned_and_nobody_has_run_it_so(name: str) -> None:
    tool = TOOLS[name]
    assert isinstance(tool.image, str)
    assert re.search(r"\d+\.\d+", Image.parse(tool.image).tag or "")
    assert tool.unverified


@EACH
def test_nothing_runs_as_root_but_what_has_the_socket(name: str) -> None:
    tool = TOOLS[name]
    assert tool.read_only
    assert tool.cap_add == []
    assert tool.user.startswith("0:") is tool.docker_socket is (name == "portainer")


@EACH
def test_secrets_are_in_secrets_alone(name: str) -> None:
    tool = TOOLS[name]
    for text in (*tool.command, *tool.environment.values(), *tool.configs.values()):
        assert not any(reference.secret for reference in references(str(text)))
    kept = {**tool.secrets, **tool.secret_files}
    assert tool.required_secrets or any(
        reference.secret for text in kept.values() for reference in references(str(text))
    )


def test_each_secret_has_a_name_of_its_own() -> None:
    """OC-16: the document has one password for all of it."""
    owners: dict[str, set[str]] = {}
    for tool in TOOLS.values():
        for text in (*tool.secrets.values(), *tool.secret_files.values()):
            for reference in references(str(text)):
                if reference.store == GENERATED:
                    owners.setdefault(reference.field, set()).update(tool.profiles)
    assert owners == {
        "FLOWER_PASSWORD": {"flower"},
        "GLITCHTIP_SECRET_KEY": {"glitchtip"},
        "MB_ENCRYPTION_SECRET_KEY": {"metabase"},
        "PGADMIN_PASSWORD": {"pgadmin"},
        "PORTAINER_PASSWORD": {"portainer"},
    }


@EACH
def test_each_says_how_it_is_or_has_nothing_to_say_it_with(name: str) -> None:
    assert TOOLS[name].tells_health is (name not in {"glitchtip-migrate", "glitchtip-worker"})


def test_the_documented_ports() -> None:
    published = {
        name: [(port.published, port.target) for port in tool.ports]
        for name, tool in TOOLS.items()
        if any(port.published for port in tool.ports)
    }
    assert published == {
        "glitchtip": [(8000, 8000)],
        "metabase": [(3000, 3000)],
        "ngrok": [(4040, 4040)],
        "pgadmin": [(5050, 5050)],
        # OC-01: 8000 is GlitchTip's.
        "portainer": [(9443, 9443)],
    }


# --- Portainer ------------------------------------------------------------------------------------


def test_portainer_has_an_administrator_from_the_start_and_speaks_tls_only() -> None:
    tool = portainer()
    assert f"--admin-password-file={SECRET_FILES}/admin-password" in tool.command
    assert tool.secret_files == {"admin-password": "${secret.PORTAINER_PASSWORD}"}
    # Plain HTTP and the tunnel of edge agents are on its loopback.
    assert {"--bind=127.0.0.1:9000", "--tunnel-addr=127.0.0.1"} <= set(tool.command)
    assert [port.scheme for port in tool.ports] == ["https"]
    assert [(volume.name, volume.target) for volume in tool.volumes] == [
        ("portainer-data", "/data")
    ]


# --- Metabase -------------------------------------------------------------------------------------


def test_metabase_has_the_documented_variables_and_its_own_user() -> None:
    tool = metabase(postgres="pg")
    assert {name for name in tool.values if name.startswith("MB_DB_")} == {
        f"MB_DB_{word}" for word in ("TYPE", "DBNAME", "USER", "PASS", "HOST", "PORT")
    }
    assert tool.environment["MB_DB_USER"] == "${pg.metabase.user}"
    assert tool.secrets["MB_DB_PASS"] == "${pg.metabase.password}"
    assert tool.depends_on == {"pg": Condition.SERVICE_HEALTHY}


# --- GlitchTip ------------------------------------------------------------------------------------


def test_glitchtip_migrates_before_the_web_server_and_the_worker() -> None:
    parts = glitchtip()
    assert {name: part.command for name, part in parts.items()} == {
        "glitchtip-migrate": ["./bin/run-migrate.sh"],
        "glitchtip": ["./bin/run-web.sh"],
        # OC-12: no celery, and no glitchtip_project.
        "glitchtip-worker": ["./bin/run-worker.sh"],
    }
    stores = {"postgres": Condition.SERVICE_HEALTHY, "redis": Condition.SERVICE_HEALTHY}
    assert parts["glitchtip-migrate"].job
    assert parts["glitchtip-migrate"].depends_on == stores
    for name in ("glitchtip", "glitchtip-worker"):
        assert parts[name].depends_on == {
            **stores,
            "glitchtip-migrate": Condition.SERVICE_COMPLETED,
        }


def test_all_parts_of_glitchtip_have_the_same_settings() -> None:
    first, *others = glitchtip(minio="minio", hosts=["errors.example.com"]).values()
    for part in others:
        assert part.environment == first.environment
        assert part.secrets == first.secrets
        assert part.image == first.image
    assert first.secrets["VALKEY_URL"] == "${redis.url}"
    assert first.environment["ALLOWED_HOSTS"].split(",") == [
        "glitchtip",
        "localhost",
        "127.0.0.1",
        "errors.example.com",
    ]
    assert first.environment["GLITCHTIP_DOMAIN"] == "http://localhost:8000"


def test_oc_15_a_password_with_an_at_sign_is_encoded() -> None:
    text = str(glitchtip()["glitchtip"].secrets["DATABASE_URL"])
    [reference] = references(text)
    assert (reference.connection, reference.field) == ("postgres.glitchtip", "url")
    url = ENGINES["postgres"].url(
        Store(engine="postgres"),
        Consumer("glitchtip", "glitchtip"),
        "OColecionador@2025",
        Reached(["postgres"], 5432),
    )
    assert "://glitchtip:OColecionador%402025@postgres:5432/glitchtip?" in url


def test_glitchtip_keeps_source_maps_in_a_bucket_or_in_memory() -> None:
    kept = glitchtip(minio="s3")["glitchtip"]
    # Spaces have another address, over TLS, and other names of buckets.
    assert kept.secrets["AWS_S3_ENDPOINT_URL"] == "${s3.glitchtip.url}"
    assert kept.environment["AWS_STORAGE_BUCKET_NAME"] == "${s3.glitchtip.database}"
    assert kept.secrets["AWS_SECRET_ACCESS_KEY"] == "${s3.glitchtip.password}"
    assert "/code/uploads" not in kept.tmpfs
    forgotten = glitchtip()["glitchtip"]
    assert "/code/uploads" in forgotten.tmpfs
    assert not any(name.startswith("AWS_") for name in forgotten.values)


def test_glitchtip_sends_no_mail_until_somebody_says_through_what() -> None:
    tool = glitchtip()["glitchtip-worker"]
    assert tool.environment["EMAIL_BACKEND"].endswith(".console.EmailBackend")
    assert tool.optional_secrets == ["EMAIL_URL"]


# --- pgAdmin --------------------------------------------------------------------------------------


def test_pgadmin_knows_the_server_and_not_its_password() -> None:
    tool = pgadmin(postgres="pg", email="admin@ocolecionador.local")
    text = str(tool.secret_files["servers.json"])
    values = {"host": "pg", "port": "5432", "database": "main", "user": "main"}
    servers = json.loads(substitute(text, lambda found: values[found.field]))["Servers"]
    assert servers["1"]["Host"] == "pg"
    assert servers["1"]["Port"] == 5432
    assert servers["1"]["Username"] == "main"
    # A special domain, which it refuses otherwise.
    assert tool.environment["PGADMIN_CONFIG_ALLOW_SPECIAL_EMAIL_DOMAINS"] == "['local']"
    assert tool.environment["PGADMIN_DEFAULT_EMAIL"] == "admin@ocolecionador.local"


# --- ngrok ----------------------------------------------------------------------------------------


def agent(tool: Workload) -> dict[str, Any]:
    return dict(json.loads(str(tool.configs["ngrok.yml"])))


def test_oc_29_ngrok_has_the_tunnels_that_it_is_given() -> None:
    config = agent(ngrok(FRONTEND))
    assert config["version"] == 3
    assert "tunnels" not in config
    assert config["endpoints"] == [
        {
            "name": "frontend",
            "url": "https://louse-model-lioness.ngrok-free.app",
            "upstream": {"url": "http://nginx:8080"},
        }
    ]
    more = ngrok({**FRONTEND, "backend": Tunnel("ocolecionadorbackend:8080")}, after=["nginx"])
    # No domain: a random one.
    assert [item["url"] for item in agent(more)["endpoints"]][1] == "https://"
    assert more.depends_on == {"nginx": Condition.SERVICE_STARTED}


def start(folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """What the container runs, with an agent that writes down how it was called."""
    (folder / "ngrok").write_text('#!/bin/sh\nprintf "%s\\n" "$@"\nenv\n', encoding="utf-8")
    (folder / "ngrok").chmod(0o755)
    [script] = ngrok(FRONTEND).command
    return subprocess.run(
        ["sh", "-c", str(script).replace("/tmp/", f"{folder}/")],
        env={"PATH": f"{folder}:{os.environ['PATH']}", **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def test_ngroks_token_is_in_a_file_only_it_can_read(tmp_path: Path) -> None:
    ran = start(tmp_path, NGROK_AUTHTOKEN="2abc_DEF")
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.splitlines()[:4] == [
        "start",
        "--all",
        f"--config={CONFIGS}/ngrok.yml",
        f"--config={tmp_path}/token.yml",
    ]
    assert "2abc_DEF" not in ran.stdout
    token = tmp_path / "token.yml"
    assert token.read_text(encoding="utf-8") == 'version: 3\nagent:\n  authtoken: "2abc_DEF"\n'
    assert token.stat().st_mode & 0o077 == 0


def test_without_a_token_ngrok_is_refused() -> None:
    config: dict[str, Json] = {
        "tiers:environment": "development",
        "tiers:systems": ["ocolecionador"],
        "tiers:profiles": {"ocolecionador": ["ngrok"]},
    }
    with pytest.raises(RunError, match=r"ocolecionador/NGROK_AUTHTOKEN: is missing"):
        record(main, project="tiers", stack="dev", config=config)
    config["tiers:secrets"] = Secret({"ocolecionador/NGROK_AUTHTOKEN": "2abcDEFghiJKL_mnoPQR"})
    recording = record(main, project="tiers", stack="dev", config=config)
    assert any(item.name.endswith("-ngrok") for item in recording.resources)


def test_an_empty_token_is_told_by_the_container(tmp_path: Path) -> None:
    ran = start(tmp_path)
    assert ran.returncode != 0
    assert "NGROK_AUTHTOKEN: is missing: set it in tiers:secrets" in ran.stderr
    assert not (tmp_path / "token.yml").exists()
