"""Stand-ins: their names, what is refused, what makes one out of date, and the real ones."""

from __future__ import annotations

import fnmatch
import http.client
import io
import json
import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Generator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from pulumi_tiers.engines import ENGINES
from pulumi_tiers.observability.exporters import EXPORTERS
from pulumi_tiers.tools import glitchtip, metabase, ngrok, pgadmin, portainer

from offline import build

SCRIPT = Path(build.__file__)
POSTGRES = "postgres:15"
APPLICATION = "marcospaulo1991/encontros-tech:develop"
CERTBOT = "certbot/certbot:v2.11.0"
FLOWER = "mher/flower:2.0"
MINIO = "quay.io/minio/minio:RELEASE.2025-09-07T16-13-09Z"
MONGO = "mongo:7"
MSSQL = "mcr.microsoft.com/mssql/server:2022-CU26-ubuntu-22.04"
NGINX = "nginx:1.27-alpine"
MONITORING = {
    "prometheus": "prom/prometheus:v3.4.1",
    "alertmanager": "prom/alertmanager:v0.28.1",
    "node": "quay.io/prometheus/node-exporter:v1.9.1",
    "blackbox": "prom/blackbox-exporter:v0.27.0",
    "postgres": "quay.io/prometheuscommunity/postgres-exporter:v0.17.1",
    "redis": "oliver006/redis_exporter:v1.74.0-alpine",
    "nginx": "nginx/nginx-prometheus-exporter:1.4.2",
    "elasticsearch": "quay.io/prometheuscommunity/elasticsearch-exporter:v1.9.0",
}
RESPONDERS = {
    "filebeat": "docker.elastic.co/beats/filebeat:8.8.0",
    "glitchtip": "glitchtip/glitchtip:6.2.6",
    "grafana": "grafana/grafana:12.4.4",
    "kibana": "docker.elastic.co/kibana/kibana:8.8.0",
    "logstash": "docker.elastic.co/logstash/logstash:8.8.0",
    "metabase": "metabase/metabase:v0.58.34",
    "mongodb": "percona/mongodb_exporter:0.47.0",
    "mssql": "awaragi/prometheus-mssql-exporter:v1.3.0",
    "ngrok": "ngrok/ngrok:3.39.11-alpine",
    "pgadmin": "dpage/pgadmin4:9.17",
    "portainer": "portainer/portainer-ce:2.39.5-alpine",
}
RABBITMQ = "rabbitmq:3-management"
REDIS = "redis:7-alpine"


# --- names -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("image", "name"),
    [
        ("postgres:15", "standin.local/postgres:15"),
        ("postgres", "standin.local/postgres:latest"),
        (APPLICATION, f"standin.local/{APPLICATION}"),
        ("mcr.microsoft.com/mssql/server:2022-latest", "standin.local/mssql/server:2022-latest"),
        ("docker.io/library/postgres:15", "standin.local/library/postgres:15"),
        ("localhost/app:1", "standin.local/app:1"),
        ("localhost:5000/team/app:1", "standin.local/team/app:1"),
        ("registry:5000/app", "standin.local/app:latest"),
        ("Registry.Example.COM/app", "standin.local/app:latest"),
        ("a__b/c-d.e:V1_2.3", "standin.local/a__b/c-d.e:V1_2.3"),
        ("standin.local/postgres:15", "standin.local/postgres:15"),
    ],
)
def test_name_of_a_stand_in(image: str, name: str) -> None:
    assert build.stand_in_name(image) == name


@pytest.mark.parametrize(
    "image",
    [
        "",
        "Postgres:15",
        "postgres:",
        "postgres:15:16",
        "post gres",
        "/postgres",
        "postgres/",
        "a//b",
        "-x",
        "postgres:-1",
        "postgres\n",
        "${{ env.REGISTRY }}/app:latest",
        "postgres@sha256:" + "0" * 64,
    ],
)
def test_what_is_not_an_image_name_is_refused(image: str) -> None:
    with pytest.raises(build.BuildError) as refusal:
        build.stand_in_name(image)
    assert refusal.value.code == 2
    assert image.strip() in str(refusal.value)


@pytest.mark.parametrize(
    ("image", "recipe"),
    [
        ("postgres:15", build.POSTGRES),
        ("postgres:16-alpine", build.POSTGRES),
        ("docker.io/library/postgres:15", build.POSTGRES),
        (APPLICATION, build.REFERENCE),
        ("someone/postgres:15", build.REFERENCE),
        (CERTBOT, build.CERTBOT),
        (FLOWER, build.FLOWER),
        (MINIO, build.MINIO),
        ("minio/minio", build.MINIO),
        (MONGO, build.MONGO),
        ("docker.elastic.co/elasticsearch/elasticsearch:8.8.0", build.ELASTICSEARCH),
        (MSSQL, build.MSSQL),
        (NGINX, build.NGINX),
        ("prom/prometheus:v3.4.1", build.PROMETHEUS),
        ("quay.io/prometheus/node-exporter:v1.9.1", build.NODE_EXPORTER),
        ("quay.io/prometheuscommunity/postgres-exporter:v0.17.1", build.POSTGRES_EXPORTER),
        ("grafana/grafana:latest", build.GRAFANA),
        ("docker.elastic.co/kibana/kibana:8.8.0", build.KIBANA),
        ("kibana:8.8.0", build.KIBANA),
        (RABBITMQ, build.RABBITMQ),
        (REDIS, build.REDIS),
    ],
)
def test_recipe_of_an_image(image: str, recipe: build.Recipe) -> None:
    assert build.recipe_for(image) is recipe


@pytest.mark.parametrize(
    "image",
    [
        "mysql:8",
        "minio/mc:latest",
    ],
)
def test_a_server_without_a_stand_in_is_never_the_reference_workload(image: str) -> None:
    with pytest.raises(build.BuildError, match="no stand-in exists yet") as refusal:
        build.recipe_for(image)
    assert refusal.value.code == 1


def test_no_server_that_the_library_names_is_taken_for_an_application() -> None:
    images = [engine.image for engine in ENGINES.values()]
    images += [exporter.image for exporter in EXPORTERS.values()]
    for tool in (metabase(), ngrok({}), pgadmin(), portainer(), *glitchtip().values()):
        images.append(str(tool.image))
    assert [image for image in images if build.recipe_for(image) is build.REFERENCE] == []


def test_a_server_either_has_a_stand_in_or_has_none() -> None:
    assert build.NO_STAND_IN.isdisjoint(build.SERVERS)


# --- what makes a stand-in out of date -------------------------------------------------------


@pytest.fixture
def context(tmp_path: Path) -> Path:
    folder = tmp_path / "context"
    (folder / "sub").mkdir(parents=True)
    (folder / "Dockerfile").write_text("FROM scratch\n")
    (folder / "sub" / "run.sh").write_text("exit 0\n")
    return folder


def test_the_context_is_the_same_bytes_whenever_and_by_whomever_it_is_made(context: Path) -> None:
    before = build.context_tar(context)
    os.utime(context / "Dockerfile", (0, 0))
    (context / "Dockerfile").chmod(0o664)
    (context / "README.md").write_text("what this is\n")
    (context / "__pycache__").mkdir()
    (context / "__pycache__" / "app.pyc").write_bytes(b"cache")
    assert build.context_tar(context) == before
    with tarfile.open(fileobj=io.BytesIO(before)) as tar:
        assert tar.getnames() == ["Dockerfile", "sub/run.sh"]


def test_every_change_of_what_goes_in_changes_the_hash(context: Path) -> None:
    recipe = build.Recipe(context, "a test")

    def current(recipe: build.Recipe = recipe) -> str:
        return build.recipe_hash(recipe, build.context_tar(context))

    hashes = [
        current(),
        current(replace(recipe, base=build.Base(("dash",)))),
        current(replace(recipe, target="other")),
    ]
    (context / "sub" / "run.sh").write_text("exit 1\n")
    hashes.append(current())
    (context / "sub" / "run.sh").chmod(0o755)
    hashes.append(current())
    (context / "sub" / "run.sh").rename(context / "sub" / "go.sh")
    hashes.append(current())
    assert len(set(hashes)) == len(hashes)


@pytest.mark.parametrize("part", ["SUITE", "EXCLUDED", "AFTER_PACKAGES"])
def test_the_base_is_named_after_all_that_goes_in(
    monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    before = build.COMMON.image
    assert re.fullmatch(r"standin\.local/base:[0-9a-f]{12}", before)
    assert replace(build.COMMON, packages=(*build.COMMON.packages, "x")).image != before
    value = getattr(build, part)
    monkeypatch.setattr(build, part, value + type(value)("x"))
    assert build.COMMON.image != before


def test_git_ignores_nothing_that_images_are_made_of() -> None:
    """A clone would have everything but that."""
    folders = (SCRIPT.parent, SCRIPT.parent.parent / "reference")
    asked = ("git", "ls-files", "--others", "--ignored", "--exclude-standard", "--", *folders)
    told = subprocess.run(asked, cwd=SCRIPT.parent, capture_output=True, text=True, check=False)
    if told.returncode:
        pytest.skip("not a checkout of git")
    made_by_python = ("__pycache__/", ".pyc")
    assert [
        name
        for name in told.stdout.splitlines()
        if not any(word in name for word in made_by_python)
    ] == []


@pytest.mark.parametrize("recipe", [*build.SERVERS.values(), build.REFERENCE])
def test_a_recipe_brings_what_its_dockerfile_copies(recipe: build.Recipe) -> None:
    with tarfile.open(fileobj=io.BytesIO(build.context_tar(recipe.context))) as tar:
        names = {*tar.getnames(), *(program.name for program in recipe.programs)}
    dockerfile = (recipe.context / "Dockerfile").read_text()
    assert "FROM ${BASE}" in dockerfile
    copied = [
        name
        for line in re.findall(r"^COPY (?!--from=)(.*)$", dockerfile, re.M)
        for name in line.split()[:-1]
    ]
    if recipe.target:
        assert f" AS {recipe.target}\n" in dockerfile
    assert {program.name for program in recipe.programs} <= set(copied)
    for pattern in copied:  # a file, files or a folder
        assert fnmatch.filter(names, pattern) or fnmatch.filter(names, f"{pattern}/*"), pattern


# --- programs that are made here ---------------------------------------------------------------


@dataclass(frozen=True)
class Noted:
    """A program whose making is only counted."""

    name: str = "noted"
    lasts: str = "no time"
    source: Path = Path()
    fails: bool = False

    def make(self, folder: Path) -> None:
        with (self.source / "made").open("a") as notes:
            notes.write("once ")
        (folder / self.name).write_text("half")
        if self.fails:
            raise build.BuildError("it broke")
        (folder / self.name).write_text("whole")


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "pulumi-tiers"


def test_a_program_is_made_once_and_complete(cache: Path, tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    program: Any = Noted(source=tmp_path / "source")
    with pytest.raises(build.BuildError, match="it broke"):
        build.make_program(replace(program, fails=True))
    assert list(cache.iterdir()) == []
    (tmp_path / "source" / "made").unlink()

    identity = build.program_hash(program)
    made = build.make_program(program)
    assert made.read_text() == "whole"
    assert made.parent.name == f"noted-{identity[:12]}"
    (tmp_path / "source" / "made").rename(tmp_path / "made")  # it was part of what it is made of
    assert build.make_program(program) == made
    assert (tmp_path / "made").read_text() == "once "
    assert [path.name for path in cache.iterdir()] == [made.parent.name]


def test_a_program_is_another_when_its_sources_are(tmp_path: Path) -> None:
    program: Any = Noted(source=tmp_path)
    hashes = [build.program_hash(program), build.program_hash(replace(program, name="other"))]
    (tmp_path / "file").write_text("more")
    hashes.append(build.program_hash(program))
    assert len(set(hashes)) == 3
    assert build.program_hash(replace(program, lasts="an hour")) == hashes[2]
    plain = build.Recipe(tmp_path, "a test")
    made = replace(plain, programs=(program,))
    assert build.recipe_hash(made, b"context") != build.recipe_hash(plain, b"context")


def test_programs_lie_beside_the_files_of_the_context(context: Path, tmp_path: Path) -> None:
    (tmp_path / "server").write_bytes(b"\x7fELF")
    whole = build.with_programs(build.context_tar(context), [tmp_path / "server"])
    with tarfile.open(fileobj=io.BytesIO(whole)) as tar:
        assert tar.getnames() == ["Dockerfile", "sub/run.sh", "server"]
        assert tar.getmember("server").mode == 0o755


FAKE_GO = """#!/bin/sh
case "$1 $2" in
    "mod download") printf '{"Dir": "%s", "Sum": "h1:right"}' "$MODULE" ;;
    "build "*)
        for argument; do case $argument in -o=*) to=${argument#-o=} ;; esac; done
        cat main.go version.txt > "$to"
        ;;
esac
"""


@pytest.fixture
def go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> build.GoProgram:
    """A program of a module that a Go gives that only copies."""
    for name in ("bin", "module", "added"):
        (tmp_path / name).mkdir()
    (tmp_path / "bin" / "go").write_text(FAKE_GO)
    (tmp_path / "bin" / "go").chmod(0o755)
    (tmp_path / "module" / "main.go").write_text("one\n")
    (tmp_path / "module" / "main.go").chmod(0o444)
    (tmp_path / "module").chmod(0o555)
    (tmp_path / "added" / "version.txt").write_text("v1\n")
    (tmp_path / "change").write_text("--- a/main.go\n+++ b/main.go\n@@ -1 +1 @@\n-one\n+two\n")
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("MODULE", str(tmp_path / "module"))
    return build.GoProgram(
        name="server",
        module="example.com/server",
        version="v1.0.0",
        checksum="h1:right",
        lasts="no time",
        patch=tmp_path / "change",
        added=tmp_path / "added",
    )


def test_a_module_is_patched_and_compiled(cache: Path, go: build.GoProgram) -> None:
    assert build.make_program(go).read_text() == "two\nv1\n"


def test_a_module_that_is_not_the_known_one_is_refused(cache: Path, go: build.GoProgram) -> None:
    with pytest.raises(build.BuildError, match="h1:right, not h1:wrong"):
        build.make_program(replace(go, checksum="h1:wrong"))


# --- the machine's package sources -----------------------------------------------------------


def test_only_the_machines_own_entries_for_the_suite_are_used(tmp_path: Path) -> None:
    (tmp_path / "sources.list.d").mkdir()
    (tmp_path / "sources.list").write_text(
        "# deb http://commented bookworm main\n"
        "deb [signed-by=/k.gpg] http://mirror/debian bookworm main\n"
        "deb-src http://mirror/debian bookworm main\n"
        "deb http://mirror/security bookworm-security main\n"
    )
    (tmp_path / "sources.list.d" / "other.list").write_text(
        "deb http://cloud cloud-sdk-bookworm main\ndeb http://mirror trixie main\n"
    )
    (tmp_path / "sources.list.d" / "debian.sources").write_text(
        "# a comment\nTypes: deb\nURIs: http://mirror/debian\n"
        "Suites: bookworm bookworm-updates\nComponents: main\n"
        "\n"
        "Types: deb\nURIs: http://elsewhere\nSuites: nodistro\nComponents: main\n"
        "\n"
        "Types: deb-src\nURIs: http://mirror/debian\nSuites: bookworm\nComponents: main\n"
        "\n"
        "Types: deb\nURIs: http://mirror/off\nSuites: bookworm\nComponents: main\nEnabled: no\n"
    )
    lines, paragraphs = build.apt_sources(tmp_path)
    assert lines == [
        "deb [signed-by=/k.gpg] http://mirror/debian bookworm main",
        "deb http://mirror/security bookworm-security main",
    ]
    assert len(paragraphs) == 1
    assert "bookworm-updates" in paragraphs[0]


def test_a_machine_without_sources_for_the_suite_has_none(tmp_path: Path) -> None:
    assert build.apt_sources(tmp_path) == ([], [])


# --- the command line, on a Docker that only takes notes -------------------------------------

FAKE_DOCKER = """#!/bin/sh
echo "$*" >> "$NOTES/calls"
case "$1 $2" in
    "version "*) exit 0 ;;
    "image inspect")
        for image; do :; done
        cat "$NOTES/label-of-$(basename "$image")" 2>/dev/null
        ;;
    "build "*) cat > "$NOTES/context.tar"; exit "${BUILD_EXIT:-0}" ;;
    *) exit 64 ;;
esac
"""


@dataclass
class Bench:
    """Runs a copy of the script, which no other build keeps waiting, with a PATH of its own."""

    folder: Path
    env: dict[str, str] = field(default_factory=dict)

    def program(self, name: str, text: str) -> None:
        path = self.folder / "bin" / name
        path.write_text(text)
        path.chmod(0o755)

    def base_exists(self) -> None:
        self.label(build.COMMON.image, "true")

    def label(self, image: str, value: str) -> None:
        (self.folder / f"label-of-{image.rpartition('/')[2]}").write_text(value)

    def run(self, *images: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, self.folder / "offline" / SCRIPT.name, *images],
            env={"PATH": f"{self.folder}/bin", "NOTES": str(self.folder), **self.env},
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )

    @property
    def calls(self) -> list[str]:
        path = self.folder / "calls"
        return path.read_text().splitlines() if path.exists() else []


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    (tmp_path / "bin").mkdir()
    for folder in (SCRIPT.parent, SCRIPT.parent.parent / "reference"):
        shutil.copytree(folder, tmp_path / folder.name)
    made = Bench(tmp_path)
    for name in ("sh", "cat", "basename"):
        (tmp_path / "bin" / name).symlink_to(shutil.which(name) or "")
    made.program("docker", FAKE_DOCKER)
    return made


def test_it_builds_labels_and_reports(bench: Bench) -> None:
    bench.base_exists()
    done = bench.run(POSTGRES, APPLICATION)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {
        POSTGRES: "standin.local/postgres:15",
        APPLICATION: f"standin.local/{APPLICATION}",
    }
    builds = [call for call in bench.calls if call.startswith("build ")]
    assert len(builds) == 2
    assert "--network none" in builds[0]
    assert f"--build-arg BASE={build.COMMON.image} " in builds[0]
    assert "--tag standin.local/postgres:15 " in builds[0]
    assert "--label=standin=true --label=standin.for=postgres:15 " in builds[0]
    assert (bench.folder / "context.tar").read_bytes() == build.context_tar(build.REFERENCE.context)
    progress = done.stderr.splitlines()
    assert len(progress) == 3
    assert all(re.match(r"\[ *\d+\.\ds\] \S", line) for line in progress)
    assert "standin.local/postgres:15 is PostgreSQL 15 from Debian" in progress[1]


def test_what_is_up_to_date_is_left_alone(bench: Bench) -> None:
    bench.base_exists()
    identity = build.recipe_hash(build.POSTGRES, build.context_tar(build.POSTGRES.context))
    bench.label("postgres:15", identity)
    done = bench.run(POSTGRES)
    assert (done.returncode, json.loads(done.stdout)) == (
        0,
        {POSTGRES: "standin.local/postgres:15"},
    )
    assert not [call for call in bench.calls if call.startswith("build ")]

    bench.label("postgres:15", "another recipe")
    bench.run(POSTGRES)
    assert [call for call in bench.calls if call.startswith("build ")]


@pytest.mark.parametrize(
    ("image", "code", "words"),
    [
        ("mysql:8", 1, "mysql:8: no stand-in exists yet for mysql"),
        ("quay.io/minio/mc:latest", 1, "no stand-in exists yet"),
        ("Not An Image", 2, "is not an image name"),
        ("postgres@sha256:0", 2, "a digest names exact bytes"),
    ],
)
def test_a_refusal_comes_before_any_work(bench: Bench, image: str, code: int, words: str) -> None:
    done = bench.run(POSTGRES, image)
    assert done.returncode == code
    assert words in done.stderr
    assert done.stdout == ""
    assert bench.calls == []


def test_no_image_is_a_usage_error(bench: Bench) -> None:
    done = bench.run()
    assert done.returncode == 2
    assert "usage:" in done.stderr


def test_without_docker_it_says_so(bench: Bench) -> None:
    (bench.folder / "bin" / "docker").unlink()
    done = bench.run(POSTGRES)
    assert (done.returncode, done.stdout) == (3, "")
    assert "docker is not installed" in done.stderr


def test_with_a_daemon_that_is_down_it_says_so(bench: Bench) -> None:
    bench.program("docker", "#!/bin/sh\nexit 1\n")
    done = bench.run(POSTGRES)
    assert (done.returncode, done.stdout) == (3, "")
    assert "daemon does not answer" in done.stderr


def test_without_mmdebstrap_and_apt_it_says_what_to_install(bench: Bench) -> None:
    done = bench.run(POSTGRES)
    assert (done.returncode, done.stdout) == (3, "")
    assert "apt-get install mmdebstrap" in done.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="only root installs packages")
def test_root_installs_mmdebstrap_and_a_failure_shows_what_was_said(bench: Bench) -> None:
    bench.program("apt-get", '#!/bin/sh\necho "apt says: $*"\n[ "$1" = update ]\n')
    done = bench.run(POSTGRES)
    assert (done.returncode, done.stdout) == (1, "")
    assert "apt-get install -y --no-install-recommends mmdebstrap" in done.stderr
    assert "apt says: install -y" in done.stderr


def test_a_build_that_fails_ends_it_and_shows_what_was_said(bench: Bench) -> None:
    bench.base_exists()
    bench.env["BUILD_EXIT"] = "7"
    done = bench.run(POSTGRES, APPLICATION)
    assert (done.returncode, done.stdout) == (1, "")
    assert "docker build failed (7)" in done.stderr
    assert len([call for call in bench.calls if call.startswith("build ")]) == 1


def test_a_missing_tool_fails_only_the_image_that_needs_it(
    bench: Bench,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    cache: Path,
) -> None:
    bench.base_exists()
    monkeypatch.setenv("NOTES", str(bench.folder))
    monkeypatch.setenv("PATH", f"{bench.folder}/bin")
    monkeypatch.setattr(build, "GO_FOLDER", str(bench.folder))
    assert build.main([MINIO, REDIS]) == 3
    said = capsys.readouterr()
    assert said.out == ""
    assert f"error: {MINIO}: go is missing: install Go" in said.err
    assert "standin.local/redis:7-alpine is Redis" in said.err
    assert [call for call in bench.calls if call.startswith("build ")] != []


def alive(pid: int) -> bool:
    status = subprocess.run(
        ["ps", "-o", "stat=", "-p", str(pid)], stdout=subprocess.PIPE, text=True, check=False
    )
    return status.stdout.strip()[:1] not in ("", "Z")


def test_an_interruption_ends_the_program_and_its_children(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"

    def interrupt(signum: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    previous = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, 0.5)
    started = time.monotonic()
    try:
        with pytest.raises(KeyboardInterrupt):
            build.run("sh", "-c", f"sleep 60 & echo $! > {pid_file}; wait")
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
    assert time.monotonic() - started < 10
    child = int(pid_file.read_text())
    for _ in range(50):  # its parent is gone: the system takes it away in its own time
        if not alive(child):
            return
        time.sleep(0.1)
    pytest.fail("the child still runs")


# --- the real ones ---------------------------------------------------------------------------


def docker(*arguments: str, check: bool = True) -> str:
    done = subprocess.run(
        ["docker", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert not check or done.returncode == 0, done.stdout
    return done.stdout


@dataclass
class Lab:
    """A network, a volume and containers as hardened as the platforms make them."""

    name: str
    images: Images

    def start(self, alias: str, image: str, user: str, memory: str, *arguments: str) -> str:
        container = f"{self.name}-{alias}"
        hardening = ("--read-only", "--cap-drop=ALL", "--security-opt=no-new-privileges")
        docker(
            *("run", "--detach", "--name", container, "--label", self.name),
            *("--network", self.name, "--network-alias", alias),
            *(*hardening, "--user", user, "--memory", memory, *arguments[:-1]),
            *(self.images[image], *arguments[-1].split()),
        )
        return container

    def database(self, *arguments: str, command: str = "postgres") -> str:
        return self.start(
            "database",
            POSTGRES,
            "999:999",
            "256m",
            "--tmpfs=/var/run/postgresql:uid=999,gid=999",
            f"--volume={self.name}:/var/lib/postgresql/data",
            "--env=POSTGRES_USER=doadmin",
            "--env=POSTGRES_DB=defaultdb",
            *arguments,
            command,
        )

    def application(self, url: str) -> str:
        return self.start(
            "application",
            APPLICATION,
            "1000:1000",
            "256m",
            "--tmpfs=/tmp",
            "--publish=127.0.0.1::8000",
            f"--env=DATABASE_URL={url}",
            "",
        )


def eventually(condition: str, container: str, *command: str, within: float = 20) -> str:
    """The output of a command in a container, once it has the text; seconds to wait for it."""
    deadline = time.monotonic() + within
    while True:
        output = docker("exec", container, *command, check=False)
        if condition in output:
            return output
        if time.monotonic() > deadline:
            pytest.fail(f"{output}\n{docker('logs', container)}")
        time.sleep(0.1)


def query(container: str, sql: str) -> str:
    return eventually("", container, "psql", "-U", "doadmin", "defaultdb", "-Atc", sql).strip()


def ready(container: str) -> None:
    eventually("accepting", container, "pg_isready", "-h", "127.0.0.1")


class Images(dict[str, str]):
    """The stand-in of each image, built when it is asked for."""

    def __missing__(self, image: str) -> str:
        done = subprocess.run(
            [sys.executable, SCRIPT, image], capture_output=True, check=False, text=True
        )
        if done.returncode == 3:
            pytest.skip(done.stderr.splitlines()[-1])
        assert done.returncode == 0, done.stderr
        self.update(json.loads(done.stdout))
        return self[image]


@pytest.fixture(scope="module")
def images() -> Images:
    return Images()


@pytest.fixture
def lab(images: Images) -> Generator[Lab]:
    name = f"standin-{secrets.token_hex(4)}"
    docker("network", "create", name)
    docker("volume", "create", name)
    yield Lab(name, images)
    containers = docker("ps", "--all", "--quiet", "--filter", f"label={name}").split()
    if containers:
        docker("rm", "--force", "--volumes", *containers)
    docker("volume", "rm", name)
    docker("network", "rm", name)


@pytest.mark.docker
@pytest.mark.parametrize("image", [POSTGRES, APPLICATION, REDIS])
def test_the_images_say_that_they_are_stand_ins(images: Images, image: str) -> None:
    labels = json.loads(docker("inspect", "--format", "{{json .Config.Labels}}", images[image]))
    assert (labels["standin"], labels["standin.for"]) == ("true", image)


@pytest.mark.docker
def test_the_application_keeps_events_through_a_crash_of_the_database(lab: Lab) -> None:
    application = lab.application("postgresql://doadmin:p%40ss%2Fword@database/defaultdb")
    port = int(docker("port", application, "8000").rpartition(":")[2])

    def ask(method: str, path: str, body: object = None) -> tuple[int, Any]:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        try:
            headers = {"Content-Type": "application/json"}
            connection.request(method, path, json.dumps(body), headers)
            response = connection.getresponse()
            return response.status, json.loads(response.read())
        finally:
            connection.close()

    def health(wanted: int) -> dict[str, Any]:
        for _ in range(200):
            with suppress(OSError, http.client.HTTPException):
                status, body = ask("GET", "/health")
                if status == wanted:
                    return dict(body["dependencies"]["DATABASE_URL"])
            time.sleep(0.1)
        pytest.fail(f"never {wanted}\n{docker('logs', application)}")

    assert health(503)["error"]
    database = lab.database("--env=POSTGRES_PASSWORD=p@ss/word")
    assert health(200)["engine"] == "postgres"
    for title in ("first", "second"):
        assert ask("POST", "/events", {"title": title})[0] == 201

    docker("kill", "--signal=KILL", database)
    assert health(503)["ok"] is False
    docker("start", database)
    health(200)
    assert [event["title"] for event in ask("GET", "/events")[1]] == ["second", "first"]
    # What health writes to prove that it can, it takes away again.
    assert query(database, "SELECT count(*) FROM events") == "2"

    docker("stop", application)
    assert docker("inspect", "--format", "{{.State.ExitCode}}", application).strip() == "0"
    assert "p@ss" not in docker("logs", application)


@pytest.mark.docker
def test_postgres_keeps_the_official_contract(lab: Lab, tmp_path: Path) -> None:
    scripts = tmp_path / "scripts"
    scripts.mkdir()
    (scripts / "1.sql").write_text("CREATE TABLE made (by text); INSERT INTO made VALUES ('sql');")
    (scripts / "2.sh").write_text(
        "docker_process_sql -c \"INSERT INTO made VALUES ('sourced')\"\n"
        "echo '# edited' >> /var/lib/postgresql/data/pg_hba.conf\n"
    )
    (scripts / "3.sh").write_text(
        "#!/bin/sh\n"
        'psql -U "$POSTGRES_USER" "$POSTGRES_DB" -c "INSERT INTO made VALUES (\'executed\')"\n'
    )
    (scripts / "3.sh").chmod(0o755)
    (scripts / "4.txt").write_text("not for us")
    secret = tmp_path / "secret"
    secret.write_text("from a file\n")
    for path in (tmp_path, scripts):
        path.chmod(0o755)
    database = lab.database(
        "--env=POSTGRES_PASSWORD_FILE=/run/secrets/password",
        f"--volume={secret}:/run/secrets/password:ro",
        f"--volume={scripts}:/docker-entrypoint-initdb.d:ro",
        command="-c max_connections=17",
    )
    ready(database)
    assert query(database, "SELECT by FROM made").split() == ["sql", "sourced", "executed"]
    assert query(database, "SHOW max_connections") == "17"
    assert "# edited" in docker("exec", database, "cat", "/var/lib/postgresql/data/pg_hba.conf")
    assert docker("exec", database, "id", "-nu").strip() == "postgres"

    over_tcp = ("psql", "-h", "127.0.0.1", "-U", "doadmin", "defaultdb", "-Atc", "SELECT 'in'")
    wrong = docker("exec", "--env=PGPASSWORD=wrong", database, *over_tcp, check=False)
    assert "password authentication failed" in wrong
    assert docker("exec", "--env=PGPASSWORD=from a file", database, *over_tcp).strip() == "in"
    assert "CREATE TABLE public.made" in docker(
        "exec", database, "pg_dump", "-U", "doadmin", "defaultdb"
    )

    docker("restart", database)
    ready(database)
    assert query(database, "SELECT count(*) FROM made") == "3"


@pytest.mark.docker
def test_an_interrupted_first_start_is_done_again(lab: Lab, tmp_path: Path) -> None:
    script = tmp_path / "1.sql"
    script.write_text("CREATE TABLE made (); SELECT pg_sleep(3);")
    tmp_path.chmod(0o755)
    database = lab.database(
        "--env=POSTGRES_PASSWORD=x", f"--volume={tmp_path}:/docker-entrypoint-initdb.d:ro"
    )
    for _ in range(100):  # until the script is at work, in the half-made database
        if "running" in docker("logs", database):
            break
        time.sleep(0.1)
    docker("kill", "--signal=KILL", database)
    script.write_text("CREATE TABLE made ();")
    docker("start", database)
    ready(database)
    assert query(database, "SELECT count(*) FROM made") == "0"
    assert "starting over" in docker("logs", database)
    assert ".first-start" not in docker("exec", database, "ls", "-A", "/var/lib/postgresql/data")


@pytest.mark.docker
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "POSTGRES_PASSWORD"),
        (
            ("--env=POSTGRES_PASSWORD=x", "--env=POSTGRES_PASSWORD_FILE=/x"),
            "both POSTGRES_PASSWORD and POSTGRES_PASSWORD_FILE",
        ),
        (
            ("--env=POSTGRES_PASSWORD=x", "--env=PGDATA=/usr/share/postgresql"),
            "must belong to the user",
        ),
    ],
)
def test_postgres_refuses_what_cannot_work(
    lab: Lab, arguments: tuple[str, ...], words: str
) -> None:
    database = lab.database(*arguments)
    assert docker("wait", database).strip() == "1"
    assert words in docker("logs", database)


@pytest.mark.docker
def test_postgres_never_touches_files_that_are_not_a_database(lab: Lab) -> None:
    beside = ("run", "--rm", "--user=999:999", f"--volume={lab.name}:/var/lib/postgresql/data")
    docker(*beside, lab.images[POSTGRES], "sh", "-c", "echo mine > $PGDATA/file")
    database = lab.database("--env=POSTGRES_PASSWORD=x")
    assert docker("wait", database).strip() == "1"
    assert "not empty: file" in docker("logs", database)
    kept = docker(*beside, lab.images[POSTGRES], "sh", "-c", "cat $PGDATA/file")
    assert kept.strip() == "mine"


@pytest.mark.docker
def test_postgres_started_as_root_goes_on_as_postgres(lab: Lab) -> None:
    container = f"{lab.name}-root"
    docker(
        *("run", "--detach", "--name", container, "--label", lab.name, "--network", "none"),
        *("--env=POSTGRES_HOST_AUTH_METHOD=trust", lab.images[POSTGRES]),
    )
    ready(container)
    owner = docker("exec", container, "stat", "--format=%u:%g", "/proc/1").strip()
    assert owner == "999:999"


@pytest.mark.docker
def test_redis_keeps_the_official_contract_and_its_data(lab: Lab) -> None:
    redis = lab.start(
        *("redis", REDIS, "999:1000", "64m", f"--volume={lab.name}:/data"),
        "--appendonly yes --appendfsync always --requirepass secret",
    )

    def ask(*words: str, password: str = "secret") -> str:
        environment = f"--env=REDISCLI_AUTH={password}"
        return docker("exec", environment, redis, "redis-cli", *words, check=False).strip()

    eventually("NOAUTH", redis, "redis-cli", "ping")
    assert "WRONGPASS" in ask("get", "key", password="wrong")
    assert ask("set", "key", "kept") == "OK"
    docker("kill", "--signal=KILL", redis)
    docker("start", redis)
    eventually("kept", redis, "redis-cli", "-a", "secret", "get", "key")
    assert docker("exec", redis, "sh", "-c", "id -u; id -g; pwd").split() == [
        "999",
        "1000",
        "/data",
    ]

    # From another container, as there is no password in this one: not in protected mode.
    lab.start(
        *("open", REDIS, "999:1000", "64m", "--tmpfs=/data:uid=999,gid=1000", "--tmpfs=/tmp"),
        "",
    )
    eventually("PONG", redis, "redis-cli", "-h", "open", "ping")
    docker("stop", redis)
    assert docker("inspect", "--format", "{{.State.ExitCode}}", redis).strip() == "0"


@pytest.mark.docker
def test_redis_reads_a_configuration_file(lab: Lab, tmp_path: Path) -> None:
    (tmp_path / "redis.conf").write_text("port 7777\nprotected-mode yes\n")
    tmp_path.chmod(0o755)
    arguments = (f"--volume={tmp_path}:/run/secrets:ro", "--tmpfs=/data:uid=999,gid=1000")
    redis = lab.start(
        "redis", REDIS, "999:1000", "64m", *arguments, "redis-server /run/secrets/redis.conf"
    )
    mode = ("redis-cli", "-p", "7777", "config", "get", "protected-mode")
    assert eventually("protected-mode", redis, *mode).split() == ["protected-mode", "yes"]


@pytest.mark.docker
def test_nginx_keeps_the_official_contract(lab: Lab) -> None:
    owner = "uid=101,gid=101"
    nginx = lab.start(
        *("edge", NGINX, "101:101", "64m", f"--tmpfs=/run:{owner}"),
        *(f"--tmpfs=/var/lib/nginx:{owner}", ""),
    )
    assert "Welcome to nginx!" in eventually("Welcome", nginx, "curl", "--silent", "127.0.0.1")
    assert docker("exec", nginx, "id", "-nu").strip() == "nginx"
    assert "STREAM" in docker("exec", nginx, "getent", "ahostsv4", "edge")
    modules = docker("exec", nginx, "nginx", "-V")
    for module in ("realip", "ssl", "v2", "stub_status"):
        assert f"--with-http_{module}_module" in modules
    docker("exec", nginx, "nginx", "-s", "reload")
    assert "Welcome" in eventually("Welcome", nginx, "curl", "--silent", "127.0.0.1")
    docker("stop", nginx)
    logs = docker("logs", nginx)
    assert '"GET / HTTP/1.1" 200' in logs
    assert "signal 3 (SIGQUIT)" in logs


@pytest.mark.docker
@pytest.mark.load  # its base takes half a minute, its two starts as long again
def test_rabbitmq_keeps_the_official_contract_and_its_messages(lab: Lab) -> None:
    rabbitmq = lab.start(
        *("rabbitmq", RABBITMQ, "999:999", "256m", "--hostname=rabbitmq"),
        *("--tmpfs=/var/log/rabbitmq:uid=999,gid=999", f"--volume={lab.name}:/var/lib/rabbitmq"),
        *("--env=RABBITMQ_DEFAULT_USER=me", "--env=RABBITMQ_DEFAULT_PASS=p@ss/w"),
        *("--env=RABBITMQ_DEFAULT_VHOST=shop", ""),
    )
    admin = ("rabbitmqadmin", "--user=me", "--password=p@ss/w", "--vhost=shop")
    declare = ("declare", "queue", "name=jobs", "durable=true")
    eventually("queue declared", rabbitmq, *admin, *declare, within=60)
    message = ("routing_key=jobs", "payload=kept", 'properties={"delivery_mode":2}')
    assert "published" in docker("exec", rabbitmq, *admin, "publish", *message)
    assert "Ping succeeded" in docker("exec", rabbitmq, "rabbitmq-diagnostics", "-q", "ping")
    metrics = (
        "import urllib.request as r; print(r.urlopen('http://127.0.0.1:15692/metrics').read())"
    )
    assert "rabbitmq_queue_messages" in docker("exec", rabbitmq, "python3", "-c", metrics)
    wrong = docker("exec", rabbitmq, *admin[:2], "--password=no", "list", "queues", check=False)
    assert "Access refused" in wrong

    docker("kill", "--signal=KILL", rabbitmq)
    docker("start", rabbitmq)
    eventually("kept", rabbitmq, *admin, "get", "queue=jobs", within=60)
    docker("stop", "--time=30", rabbitmq)
    assert docker("inspect", "--format", "{{.State.ExitCode}}", rabbitmq).strip() == "0"
    assert "p@ss" not in docker("logs", rabbitmq)


@pytest.mark.docker
@pytest.mark.load
def test_rabbitmq_refuses_a_password_in_a_file_as_the_official_image_does(images: Images) -> None:
    run = ("run", "--rm", "--user=999:999", "--env=RABBITMQ_DEFAULT_PASS_FILE=/x")
    assert "RABBITMQ_DEFAULT_PASS_FILE" in docker(*run, images[RABBITMQ], check=False)


@pytest.mark.docker
@pytest.mark.load  # their base takes a minute
def test_prometheus_and_exporters_keep_the_official_contracts(lab: Lab, tmp_path: Path) -> None:
    redis = lab.start(
        *("cache", REDIS, "999:1000", "64m", "--tmpfs=/data:uid=999,gid=1000", "--tmpfs=/tmp"),
        "--requirepass s3cret",
    )
    lab.database("--env=POSTGRES_PASSWORD=p@ss/w")
    ports = {"node": 9100, "blackbox": 9115, "postgres": 9187, "redis": 9121, "elasticsearch": 9114}
    environment = {
        "postgres": (
            "--env=DATA_SOURCE_URI=database/defaultdb?sslmode=disable",
            *("--env=DATA_SOURCE_USER=doadmin", "--env=DATA_SOURCE_PASS=p@ss/w"),
        ),
        "redis": ("--env=REDIS_ADDR=redis://cache:6379", "--env=REDIS_PASSWORD=s3cret"),
    }
    scraped = {name: [f"{name}:{port}"] for name, port in ports.items()}
    scraped |= {"itself": ["127.0.0.1:9090"], "alerts": ["alertmanager:9093"]}
    jobs = [
        {"job_name": name, "static_configs": [{"targets": targets}]}
        for name, targets in scraped.items()
    ]
    (tmp_path / "prometheus.yml").write_text(
        json.dumps({"global": {"scrape_interval": "1s"}, "scrape_configs": jobs})
    )
    tmp_path.chmod(0o755)
    for name in ports:
        arguments = (*environment.get(name, ()), "")
        lab.start(name, MONITORING[name], "65534:65534", "64m", *arguments)
    lab.start("alertmanager", MONITORING["alertmanager"], "65534:65534", "64m", "")
    prometheus = lab.start(
        *("prometheus", MONITORING["prometheus"], "65534:65534", "128m"),
        *(f"--volume={tmp_path}:/etc/prometheus:ro", ""),
    )
    wget = ("wget", "-q", "-O", "-")
    eventually("Healthy", prometheus, *wget, "http://127.0.0.1:9090/-/healthy")

    def ask(query: str, condition: str) -> str:
        return eventually(
            condition, prometheus, *wget, f"http://127.0.0.1:9090/api/v1/query?query={query}"
        )

    for name in scraped:
        ask(f"up{{job='{name}'}}", ',"1"]')
    ask("pg_up", ',"1"]')
    ask("redis_up", ',"1"]')
    assert docker("exec", prometheus, "stat", "-c", "%u", "/prometheus").strip() == "65534"
    check = ("promtool", "check", "config", "/etc/prometheus/prometheus.yml")
    assert "SUCCESS" in docker("exec", prometheus, *check)
    docker("rm", "--force", redis)
    ask("redis_up", ',"0"]')


@pytest.mark.docker
@pytest.mark.load
def test_the_exporter_of_nginx_has_nothing_beside_it(lab: Lab) -> None:
    exporter = lab.start(
        *("exporter", MONITORING["nginx"], "1001:1001", "32m"),
        *("--env=SCRAPE_URI=http://none:8081/status", "--env=NGINX_RETRIES=9", ""),
    )
    assert "executable file not found" in docker("exec", exporter, "sh", check=False)
    deadline = time.monotonic() + 30
    while "Retrying in" not in (said := docker("logs", exporter)):
        assert time.monotonic() < deadline, said
        time.sleep(0.2)


# --- servers in whose place a program of ours answers ------------------------------------------


def readable(folder: Path, files: dict[str, object]) -> None:
    """Files that every user may read; what is not text, as JSON."""
    folder.chmod(0o755)
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content if isinstance(content, str) else json.dumps(content))


def said_when_it_ended(container: str, code: str) -> str:
    assert docker("wait", container).strip() == code, docker("logs", container)
    return docker("logs", container)


GRAFANA_FILES: dict[str, object] = {
    "password": "s3cret\n",
    "p/datasources/a.yaml": {
        "datasources": [
            {"name": "P", "type": "prometheus", "access": "proxy", "url": "http://none:9090"}
        ]
    },
    "p/dashboards/a.yaml": {"providers": [{"name": "d", "options": {"path": "/files/boards"}}]},
    "boards/one.json": {"uid": "one", "title": "One"},
}


def grafana(lab: Lab, folder: Path, more: dict[str, object]) -> str:
    readable(folder, {**GRAFANA_FILES, **more})
    return lab.start(
        *("grafana", RESPONDERS["grafana"], "472:0", "64m", "--tmpfs=/tmp"),
        "--tmpfs=/var/lib/grafana:uid=472,gid=0",
        *(f"--volume={folder}:/files:ro", "--env=GF_PATHS_PROVISIONING=/files/p"),
        *("--env=GF_SECURITY_ADMIN_PASSWORD__FILE=/files/password", ""),
    )


@pytest.mark.docker
@pytest.mark.load  # their base takes half a minute
def test_grafana_reads_its_sources_and_dashboards(lab: Lab, tmp_path: Path) -> None:
    container = grafana(lab, tmp_path, {})
    at = "http://127.0.0.1:3000"
    assert "ok" in eventually("ok", container, "wget", "-q", "-O", "-", f"{at}/api/health")
    admin = ("curl", "-s", "--user", "admin:s3cret")
    found = json.loads(docker("exec", container, *admin, f"{at}/api/search"))
    assert found == [{"uid": "one", "title": "One"}]
    assert "Unauthorized" in docker("exec", container, "curl", "-s", f"{at}/api/search")
    assert "stand-in" in docker("exec", container, "curl", "-s", f"{at}/")
    docker("stop", "--time=5", container)
    assert docker("inspect", "--format", "{{.State.ExitCode}}", container).strip() == "0"
    assert "s3cret" not in docker("logs", container)


@pytest.mark.docker
@pytest.mark.load
@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("boards/two.json", '{"title": "Two",}', "boards/two.json can't be parsed"),
        ("boards/two.json", {"uid": "two"}, "a dashboard needs a title"),
        ("boards/two.json", {"uid": "one", "title": "Two"}, "another dashboard has the uid one"),
        ("p/datasources/b.yaml", "datasources: [", "b.yaml can't be parsed"),
        ("p/datasources/b.yaml", {"datasources": [{"name": "L"}]}, "no access, type"),
    ],
)
def test_grafana_refuses_what_is_broken(
    lab: Lab, tmp_path: Path, name: str, content: object, words: str
) -> None:
    container = grafana(lab, tmp_path, {name: content})
    assert words in said_when_it_ended(container, "1")


@pytest.mark.docker
@pytest.mark.load  # their base takes half a minute
def test_metabase_and_glitchtip_live_as_long_as_their_database(lab: Lab) -> None:
    password = "p@ss/w"
    database = lab.database(f"--env=POSTGRES_PASSWORD={password}")
    ready(database)
    lab.start("cache", REDIS, "999:1000", "64m", "--tmpfs=/data:uid=999,gid=1000", "")
    names = {"TYPE": "postgres", "HOST": "database", "PORT": "5432", "DBNAME": "defaultdb"}
    names |= {"USER": "doadmin", "PASS": password}
    metabase = lab.start(
        *("metabase", RESPONDERS["metabase"], "2000:2000", "64m", "--tmpfs=/tmp"),
        *("--tmpfs=/plugins:uid=2000,gid=2000",),
        *(f"--env=MB_DB_{name}={value}" for name, value in names.items()),
        "",
    )

    def glitchtip(alias: str, command: str, *arguments: str) -> str:
        return lab.start(
            *(alias, RESPONDERS["glitchtip"], "5000:5000", "64m", "--tmpfs=/tmp"),
            *("--tmpfs=/code/uploads:uid=5000,gid=5000", "--env=ALLOWED_HOSTS=127.0.0.1,shop"),
            "--env=DATABASE_URL=postgres://doadmin:p%40ss%2Fw@database/defaultdb",
            *("--env=VALKEY_URL=redis://cache/0", "--env=SECRET_KEY=k", *arguments, command),
        )

    migrate = glitchtip("migrate", "./bin/run-migrate.sh")
    assert "migrated" in said_when_it_ended(migrate, "0")
    worker = glitchtip("worker", "./bin/run-worker.sh")
    web = glitchtip("web", "./bin/run-web.sh")
    ask = ("curl", "-s", "--write-out", "%{http_code}")
    health = "http://127.0.0.1:8000/_health/"
    assert eventually("ok200", web, *ask, health)
    assert "400" in docker("exec", web, *ask, "--header", "Host: other", health)
    health = "http://127.0.0.1:3000/api/health"
    eventually("200", metabase, *ask, health)
    running = docker("inspect", "--format", "{{.State.Running}}", worker).strip()
    assert (running, query(database, "SELECT count(*) FROM standin")) == ("true", "1")
    docker("rm", "--force", database)
    eventually("503", metabase, *ask, health)


@pytest.mark.docker
@pytest.mark.load
@pytest.mark.parametrize(
    ("name", "user", "arguments", "words"),
    [
        ("ngrok", "1000:1000", ("start --all --config=/files/ngrok.yml",), "no authtoken"),
        ("pgadmin", "5050:5050", ("",), "PGADMIN_DEFAULT_EMAIL is not set"),
        ("grafana", "472:0", ("--env=GF_SECURITY_SECRET_KEY__FILE=/none", ""), "/var/lib/grafana"),
        ("logstash", "1000:0", ("--path.settings /files -f /files/p.conf",), "its braces"),
        ("metabase", "2000:2000", ("",), "/plugins can't be written to"),
    ],
)
def test_a_start_that_would_fail_fails(
    lab: Lab, tmp_path: Path, name: str, user: str, arguments: tuple[str, ...], words: str
) -> None:
    pipeline = "input { beats { port => 5044 } }\noutput { stdout {} "
    readable(tmp_path, {"ngrok.yml": {"version": 3}, "logstash.yml": {}, "p.conf": pipeline})
    volumes = (f"--volume={tmp_path}:/files:ro", "--tmpfs=/usr/share/logstash/data")
    container = lab.start(name, RESPONDERS[name], user, "64m", *volumes, *arguments)
    assert words in said_when_it_ended(container, "1")


@pytest.mark.docker
@pytest.mark.load  # many images
def test_the_others_answer_on_the_documented_ports(lab: Lab, tmp_path: Path) -> None:
    pipeline = "input { beats { port => 5044 } }\noutput { stdout {} }\n"
    ngrok = {"version": 3, "agent": {"authtoken": "t", "web_addr": "0.0.0.0:4040"}}
    beats = {
        "filebeat.inputs": [{"paths": ["/files/*.log"]}],
        "output.logstash": {"hosts": ["logstash:5044"]},
        "http": {"host": "0.0.0.0"},
    }
    readable(
        tmp_path,
        {
            "admin": "a long password",
            "ngrok.yml": ngrok,
            "logstash.yml": {"api.http.host": "0.0.0.0"},
            "pipeline.conf": pipeline,
            "filebeat.yml": beats,
            "one.log": "line\n",
            "servers.json": {"Servers": {}},
        },
    )
    files = ("--tmpfs=/tmp", f"--volume={tmp_path}:/files:ro")

    def start(name: str, user: str, *arguments: str) -> str:
        return lab.start(name, RESPONDERS[name], user, "64m", *files, *arguments)

    logstash = start(
        *("logstash", "1000:0", "--tmpfs=/usr/share/logstash/data:uid=1000"),
        "--path.settings /files --path.config /files/pipeline.conf",
    )
    filebeat = start(
        *("filebeat", "0:0", "--tmpfs=/usr/share/filebeat/data"),
        "-e --strict.perms=false -c /files/filebeat.yml",
    )
    pgadmin = start(
        *("pgadmin", "5050:5050", "--tmpfs=/var/lib/pgadmin:uid=5050"),
        *("--env=PGADMIN_DEFAULT_EMAIL=a@b.local", "--env=PGADMIN_DEFAULT_PASSWORD=x"),
        *("--env=PGADMIN_LISTEN_PORT=5050", "--env=PGADMIN_SERVER_JSON_FILE=/files/servers.json"),
        *("--env=PGADMIN_CUSTOM_CONFIG_DISTRO_FILE=/tmp/c.py", ""),
    )
    portainer = start(
        *(
            "portainer",
            "0:0",
            "--tmpfs=/data",
            "--volume=/var/run/docker.sock:/var/run/docker.sock",
        ),
        "--bind=127.0.0.1:9000 --admin-password-file=/files/admin",
    )
    tunnel = start("ngrok", "1000:1000", "start --all --config=/files/ngrok.yml")
    exporter = start(
        *("mongodb", "65534:65534", "--env=MONGODB_URI=mongodb://none/?serverSelectionTimeoutMS=9"),
        "",
    )
    wget = ("wget", "-q", "-O", "-")
    for container, path, words in (
        (logstash, "9600/", "green"),
        (filebeat, "5066/", "filebeat"),
        (pgadmin, "5050/misc/ping", "PING"),
        (portainer, "9000/api/system/status", "Version"),
        (tunnel, "4040/api/status", '"online"'),
    ):
        eventually(words, container, *wget, f"http://127.0.0.1:{path}")
    assert "stand-in" in docker(
        *("exec", portainer, "curl", "-s", "--insecure", "https://portainer:9443/")
    )
    eventually("mongodb_up 0", logstash, "curl", "-s", "http://mongodb:9216/metrics")
    assert "executable file not found" in docker("exec", exporter, "sh", check=False)


MSSQL_SETUP = """
IF SUSER_ID(N'app') IS NULL CREATE LOGIN [app] WITH PASSWORD = N'p@ss/W''0rd';
ELSE ALTER LOGIN [app] WITH PASSWORD = N'p@ss/W''0rd';
GO
IF DB_ID(N'shop') IS NULL CREATE DATABASE [shop];
GO
ALTER AUTHORIZATION ON DATABASE::[shop] TO [app];
GO
"""
MSSQL_CLIENT = """
import json, pytds

def attempt(statement, values=None, user="app", password="p@ss/W'0rd", database="shop"):
    try:
        with pytds.connect("sql", user=user, password=password, database=database, autocommit=True,
                           login_timeout=3, disable_connect_retry=True) as connection:
            with connection.cursor() as cursor:
                cursor.execute(statement, values or ())
                return cursor.fetchall() if cursor.description else cursor.rowcount
    except pytds.Error as error:
        return getattr(error, "number", None) or str(error)

title = "it's; [dbo.] " + "x" * 3000
table = "id nvarchar(40) NOT NULL PRIMARY KEY, title nvarchar(4000), cost float, tries int"
print(json.dumps([
    attempt("SELECT title FROM things"),
    attempt(f"CREATE TABLE things ({table})"),
    attempt(f"CREATE TABLE things ({table})"),
    attempt("INSERT INTO dbo.things VALUES (%s, %s, %s, %s)", ("a", title, 1.5, 7)),
    attempt("INSERT INTO things (id) VALUES ('a')"),
    attempt("INSERT INTO things (id) VALUES (N'b;--')"),
    attempt("UPDATE things SET tries = tries + 1 WHERE id = %s", ("a",)),
    [[str(v)[:14] for v in row] for row in attempt("SELECT TOP 20 * FROM things ORDER BY id")],
    attempt("CREATE DATABASE other"),
    attempt("SELECT 1", password="wrong"),
    attempt("SELECT 1", database="nodb"),
    attempt("SELECT DB_ID('x') FROM"),
]))
"""


@pytest.mark.docker
@pytest.mark.load  # its base takes half a minute
def test_the_place_of_sql_server_keeps_rows_logins_and_owners(lab: Lab) -> None:
    server = lab.start(
        *("sql", MSSQL, "10001:0", "64m", "--tmpfs=/tmp", f"--volume={lab.name}:/var/opt/mssql"),
        *("--env=ACCEPT_EULA=Y", "--env=MSSQL_SA_PASSWORD=Str0ng!pw", "--env=MSSQL_PID=Express"),
        f"--env=SETUP={MSSQL_SETUP}",
        "",
    )
    tool = "SQLCMDPASSWORD='Str0ng!pw' /opt/mssql-tools18/bin/sqlcmd -C -b -l 3 -S 127.0.0.1 -U sa"

    def ask(arguments: str) -> str:
        return docker("exec", server, "sh", "-c", f"{tool} {arguments}", check=False)

    eventually("1 rows affected", server, "sh", "-c", f"{tool} -Q 'SELECT 1'")
    for _ in range(2):
        docker("exec", server, "sh", "-c", f'printf %s "$SETUP" >/tmp/s.sql; {tool} -i /tmp/s.sql')
    assert json.loads(docker("exec", server, "python3", "-c", MSSQL_CLIENT)) == [
        *(208, -1, 2714, 1, 2627, 1, 1),
        [["a", "it's; [dbo.] x", "1.5", "8"], ["b;--", "None", "None", "None"]],
        *(15247, 18456, 4060, 102),
    ]
    backup = "DATABASE [shop] {} DISK = N'/var/opt/mssql/shop.bak' WITH CHECKSUM"
    assert ask(f'-Q "BACKUP {backup.format("TO")}"') == ""
    assert "Msg 208" in ask('-d shop -Q "DELETE FROM things; SELECT * FROM none"')
    docker("kill", "--signal=KILL", server)
    docker("start", server)
    count = "-d shop -h -1 -W -Q 'SET NOCOUNT ON; SELECT COUNT(*) FROM things'"
    assert "0" in eventually("0", server, "sh", "-c", f"{tool} {count}")
    assert ask(f'-Q "RESTORE {backup.format("FROM")}, REPLACE"') == ""
    assert ask(count).strip() == "2"
    # In a transaction over batches, an error takes back what was before it.
    script = "BEGIN TRANSACTION;\\nGO\\nDELETE FROM things;\\nGO\\nSELECT * FROM none;\\n"
    docker("exec", server, "sh", "-c", f"printf '{script}' >/tmp/t.sql")
    assert "Msg 208" in ask("-d shop -i /tmp/t.sql")
    assert ask(count).strip() == "2"
    docker("stop", "--time=5", server)
    assert docker("inspect", "--format", "{{.State.ExitCode}}", server).strip() == "0"
    assert "Str0ng" not in docker("logs", server)


@pytest.mark.docker
@pytest.mark.load
@pytest.mark.parametrize(
    ("environment", "words"),
    [
        (("--env=MSSQL_SA_PASSWORD=Str0ng!pw",), "ACCEPT_EULA"),
        (("--env=ACCEPT_EULA=Y", "--env=MSSQL_SA_PASSWORD=weak"), "not complex enough"),
    ],
)
def test_the_place_of_sql_server_refuses_to_start(
    images: Images, environment: tuple[str, ...], words: str
) -> None:
    run = ("run", "--rm", "--user=10001:0", "--network=none", *environment, images[MSSQL])
    assert words in docker(*run, check=False)


S3_CLIENT = """
import json, os, boto3, botocore.exceptions
from botocore.config import Config

def client(key, secret):
    return boto3.client("s3", endpoint_url="http://127.0.0.1:9000", region_name="us-east-1",
                        aws_access_key_id=key, aws_secret_access_key=secret,
                        config=Config(signature_version="s3v4", retries={"max_attempts": 1}))

def code(call, *a, **k):
    try:
        call(*a, **k)
        return "ok"
    except botocore.exceptions.ClientError as error:
        return error.response["Error"]["Code"]

app = client("app", "app-secret")
print(json.dumps({
    "put": code(app.put_object, Bucket="mine", Key="a/b", Body=b"kept"),
    "encrypted": app.head_object(Bucket="mine", Key="a/b").get("ServerSideEncryption"),
    "foreign": code(app.put_object, Bucket="other", Key="x", Body=b""),
    "wrong": code(client("app", "wrong-secret").list_objects_v2, Bucket="mine"),
    "presigned_put": app.generate_presigned_url("put_object", {"Bucket": "mine", "Key": "up"}),
    "presigned_get": app.generate_presigned_url("get_object", {"Bucket": "mine", "Key": "a/b"}),
}))
"""
S3_SETUP = """set -eu
mc --quiet alias set site http://127.0.0.1:9000 admin "$(cat /run/secrets/password)"
mc --quiet mb --ignore-existing site/mine site/other
mc --quiet admin user add site app app-secret
printf '%s' "$POLICY" >/tmp/policy.json
mc --quiet admin policy create site app /tmp/policy.json
mc --quiet admin policy attach site app --user app
mc --quiet encrypt set sse-s3 site/mine
"""


@pytest.mark.docker
@pytest.mark.load  # compiles its stand-in the first time, which takes minutes
def test_minio_is_a_real_s3_server(lab: Lab, tmp_path: Path) -> None:
    (tmp_path / "password").write_text("p@ss/word")
    (tmp_path / "key").write_text("tiers:" + "0" * 42 + "A=")
    tmp_path.chmod(0o755)
    policy = {
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": "arn:aws:s3:::mine/*"}],
    }
    prepare = ("--entrypoint=sh", lab.images[MINIO], "-c", "chown 1000:1000 /data")
    # As in the official image, its folder is root's.
    docker("run", "--rm", f"--volume={lab.name}:/data", *prepare)
    minio = lab.start(
        *("minio", MINIO, "1000:1000", "512m", "--tmpfs=/tmp", f"--volume={lab.name}:/data"),
        f"--volume={tmp_path}:/run/secrets:ro",
        "--env=MINIO_ROOT_USER=admin",
        "--env=MINIO_ROOT_PASSWORD_FILE=/run/secrets/password",
        "--env=MINIO_KMS_SECRET_KEY_FILE=/run/secrets/key",
        f"--env=POLICY={json.dumps(policy)}",
        "server /data --console-address :9001",
    )
    eventually("ready", minio, "mc", "ready", "local")
    docker("exec", minio, "sh", "-c", S3_SETUP)
    seen = json.loads(docker("exec", minio, "python3", "-c", S3_CLIENT))
    assert (seen["put"], seen["encrypted"]) == ("ok", "AES256")
    assert (seen["foreign"], seen["wrong"]) == ("AccessDenied", "SignatureDoesNotMatch")

    def curl(*arguments: str) -> str:
        return docker("exec", minio, "curl", "--silent", "--show-error", *arguments)

    status = ("--output", "/dev/null", "--write-out", "%{http_code}")
    assert curl(*status, "--data", "up", "--request", "PUT", seen["presigned_put"]) == "200"
    assert curl(*status, "http://127.0.0.1:9000/mine/up") == "403"

    docker("kill", "--signal=KILL", minio)
    docker("start", minio)
    eventually("ready", minio, "mc", "ready", "local")
    assert curl(seen["presigned_get"]) == "kept"
    assert curl(*status, "http://127.0.0.1:9001/") == "200"


MONGO_SETUP = """
const open = (host) => new Mongo(`mongodb://root:p%40ss%2Fw@${host}/admin?directConnection=true`);
const admin = open("mongo").getDB("admin");
const said = (call) => {
  try {
    const answer = call();
    return answer;
  } catch (error) {
    return error.codeName;
  }
};
const config = (name, host) => ({ _id: name, members: [{ _id: 0, host: host }] });
const user = { createUser: "app", pwd: "secret", roles: [{ role: "readWrite", db: "app" }] };
print(JSON.stringify([
  said(() => admin.runCommand({ replSetGetStatus: 1 })),
  said(() => admin.runCommand(user)),
  said(() => admin.runCommand({ replSetInitiate: config("rs1", "mongo:27017") })),
  said(() => admin.runCommand({ replSetInitiate: config("rs0", "nobody:27017") })),
  said(() => admin.runCommand({ replSetInitiate: config("rs0", "mongo:27017") })).ok,
  said(() => admin.runCommand({ replSetInitiate: config("rs0", "mongo:27017") })),
  said(() => admin.runCommand({ replSetGetStatus: 1 })).members.map((m) => [m.name, m.stateStr]),
  said(() => admin.runCommand({ ...user, roles: ["reader"] })),
  said(() => admin.runCommand(user)).ok,
]));
"""
MONGO_CLIENT = """
import json, pymongo, sys

def attempt(url, database="app", write=True):
    try:
        things = pymongo.MongoClient(url, serverSelectionTimeoutMS=3000)[database].things
        if write:
            things.insert_one({"_id": "one", "list": [1, {"a": 2}]})
        return things.find_one({"list.a": 2})
    except pymongo.errors.PyMongoError as error:
        return type(error).__name__ if error.__class__ is not pymongo.errors.OperationFailure \\
            else error.details["codeName"]

url = "mongodb://app:secret@mongo/app?authSource=admin"
print(json.dumps([
    attempt(url + "&replicaSet=rs0"),
    attempt(url + "&replicaSet=rs0"),
    attempt(url + "&replicaSet=rs0", write=False),
    attempt(url + "&replicaSet=rs1"),
    attempt(url.replace("secret", "wrong")),
    attempt(url, "other"),
    attempt("mongodb://mongo/app"),
]))
"""


@pytest.mark.docker
@pytest.mark.load  # compiles its stand-in the first time, which takes minutes
def test_mongo_has_users_a_set_of_one_and_keeps_its_data(lab: Lab) -> None:
    start = "umask 077; echo a1b2c3d4 >/tmp/key; exec docker-entrypoint.sh mongod"
    options = "--replSet rs0 --keyFile /tmp/key --bind_ip_all --wiredTigerCacheSizeGB 0.25"
    docker(
        *("run", "--detach", "--name", f"{lab.name}-mongo", "--label", lab.name),
        *("--network", lab.name, "--network-alias", "mongo", "--read-only", "--cap-drop=ALL"),
        *("--security-opt=no-new-privileges", "--user=999:999", "--memory=512m"),
        *("--tmpfs=/tmp", "--tmpfs=/data/configdb", f"--volume={lab.name}:/data/db"),
        *("--env=HOME=/tmp", "--env=MONGO_INITDB_ROOT_USERNAME=root"),
        *("--env=MONGO_INITDB_ROOT_PASSWORD=p@ss/w", lab.images[MONGO]),
        *("sh", "-c", f"{start} {options}"),
    )
    mongo = f"{lab.name}-mongo"
    ping = ("mongosh", "--quiet", "--norc", "--eval", "db.adminCommand('ping').ok")
    eventually("1", mongo, *ping)
    said = docker("exec", mongo, "mongosh", "--nodb", "--norc", "--quiet", "--eval", MONGO_SETUP)
    assert json.loads(said.splitlines()[-1]) == [
        *("NotYetInitialized", "NotWritablePrimary"),
        *("InvalidReplicaSetConfig", "NodeNotFound", 1, "AlreadyInitialized"),
        *([["mongo:27017", "PRIMARY"]], "RoleNotFound", 1),
    ]

    def client() -> list[Any]:
        return list(json.loads(docker("exec", mongo, "python3", "-c", MONGO_CLIENT)))

    document = {"_id": "one", "list": [1, {"a": 2}]}
    rest = [
        *("ServerSelectionTimeoutError", "AuthenticationFailed"),
        *("Unauthorized", "Unauthorized"),
    ]
    assert client() == [document, "DuplicateKeyError", document, *rest]
    docker("kill", "--signal=KILL", mongo)
    docker("start", mongo)
    eventually("1", mongo, *ping)
    assert client() == ["DuplicateKeyError", "DuplicateKeyError", document, *rest]
    docker("stop", mongo)
    assert docker("inspect", "--format", "{{.State.ExitCode}}", mongo).strip() == "0"
    assert "p@ss" not in docker("logs", mongo)


@pytest.mark.docker
@pytest.mark.parametrize(
    ("options", "words"),
    [
        ("--replSet", "--replSet needs a value"),
        ("--config /etc/mongod.conf", "--config: not in this stand-in"),
        ("--keyFile /etc/hostname", "permissions on /etc/hostname are too open"),
        ("--keyFile /none", "cannot read /none"),
        ("nonsense", "nonsense is not an option of mongod"),
    ],
)
def test_mongo_refuses_what_it_cannot_do(images: Images, options: str, words: str) -> None:
    run = ("run", "--rm", "--user=999:999", "--network=none", images[MONGO], "mongod")
    assert words in docker(*run, *options.split(), check=False)


@pytest.mark.docker
def test_flower_wants_the_password(lab: Lab) -> None:
    lab.start(
        *("redis", REDIS, "999:1000", "64m", "--tmpfs=/data:uid=999,gid=1000"),
        "",
    )
    flower = lab.start(
        *("flower", FLOWER, "1000:1000", "128m", "--tmpfs=/tmp", "--tmpfs=/data"),
        "celery --broker=redis://redis/0 flower --basic-auth=me:secret",
    )
    status = ("curl", "--silent", "--output", "/dev/null", "--write-out", "%{http_code}")
    eventually("401", flower, *status, "127.0.0.1:5555/workers")
    assert docker("exec", flower, *status, "--user", "me:secret", "127.0.0.1:5555/workers") == "200"


@pytest.mark.docker
def test_certbot_runs_without_privileges(images: Images) -> None:
    hardening = ("--read-only", "--cap-drop=ALL", "--security-opt=no-new-privileges")
    folders = [f"--{name}-dir=/tmp/{name}" for name in ("config", "work", "logs")]
    said = docker(
        *("run", "--rm", "--user=1000:1000", "--network=none", *hardening, "--tmpfs=/tmp"),
        *(images[CERTBOT], "certificates", *folders),
    )
    assert "No certificates found" in said
