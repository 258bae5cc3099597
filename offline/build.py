#!/usr/bin/env python3
"""Stand-ins for container images, built from Debian's packages where no image can be pulled.

    python3 offline/build.py postgres:15 marcospaulo1991/encontros-tech:develop

builds standin.local/postgres:15 and standin.local/marcospaulo1991/encontros-tech:develop, says on
stderr what it does, and ends with one JSON object on stdout: {image: its stand-in}.

It needs Docker, Debian's archive (or a mirror) and mmdebstrap: one root file system holds the
packages of all the stand-ins, and every stand-in is a small layer on it. Servers that Debian does
not have are compiled here, once, for which Go, npm or pip is needed. What is up to date is left
alone. Exit codes: 1 no stand-in or a step failed, 2 not an image name, 3 a tool is missing.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from types import FrameType

HERE = Path(__file__).resolve().parent
PREFIX = "standin.local"


@dataclass(frozen=True)
class GoProgram:
    """A program of a public Go module, compiled here without C."""

    name: str
    module: str
    version: str
    #: What `go mod download` says of these very bytes, as in a go.sum.
    checksum: str
    #: How long that takes on two cores; for the user.
    lasts: str
    package: str = "."
    tags: str = ""
    #: What is changed in the module's source, and files that are added to it.
    patch: Path | None = None
    added: Path | None = None

    def make(self, folder: Path) -> None:
        go = tool("go", "install Go 1.24 or newer: https://go.dev/doc/install", GO_FOLDER)
        offer = ("mod", "download", "-json", f"{self.module}@{self.version}")
        told = run(go, *offer, cwd=folder, env={"GOWORK": "off", "GOFLAGS": ""})
        module: dict[str, str] = json.loads(told[told.index("{") : told.rindex("}") + 1])
        if module.get("Sum") != self.checksum:
            raise BuildError(
                f"{self.module}@{self.version} has the checksum {module.get('Sum')}, "
                f"not {self.checksum}"
            )
        source = folder / "source"
        # What Go keeps is read-only.
        shutil.copytree(module["Dir"], source, copy_function=shutil.copyfile)
        for path in (source, *source.rglob("*")):
            path.chmod(0o755 if path.is_dir() else 0o644)
        if self.patch:
            git = tool("git", "install git: it applies our patch")
            # Else it takes a repository around this folder for the one that is meant.
            alone = {"GIT_CEILING_DIRECTORIES": str(folder)}
            run(git, "apply", str(self.patch), cwd=source, env=alone)
        if self.added:
            shutil.copytree(self.added, source, dirs_exist_ok=True)
        run(
            *("nice", go, "build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w"),
            *(f"-tags={self.tags}", f"-o={folder / self.name}", self.package),
            cwd=source,
            env={"CGO_ENABLED": "0", "GOWORK": "off"},
        )


@dataclass(frozen=True)
class NodeProgram:
    """A program of the npm registry, put into one file that needs nothing but Node.js."""

    name: str
    #: With a package.json and its lock, which also names esbuild.
    packages: Path
    entry: str
    lasts: str
    #: What it asks for and does without.
    absent: tuple[str, ...] = ()

    def make(self, folder: Path) -> None:
        npm = tool("npm", "install Node.js 18 or newer with npm: https://nodejs.org/")
        source = folder / "source"
        shutil.copytree(self.packages, source)
        run(npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", cwd=source)
        run(
            *("nice", "node_modules/.bin/esbuild", f"node_modules/{self.entry}", "--bundle"),
            *("--platform=node", "--target=node18", "--minify-whitespace", "--minify-syntax"),
            *("--log-level=error", f"--outfile={folder / self.name}"),
            *(f"--external:{name}" for name in self.absent),
            cwd=source,
        )


@dataclass(frozen=True)
class Wheel:
    """A package of PyPI in pure Python, without what it needs."""

    name: str
    requirement: str
    #: SHA-256 of the file.
    checksum: str
    lasts: str

    def make(self, folder: Path) -> None:
        wish = folder / "requirements.txt"
        wish.write_text(f"{self.requirement} --hash=sha256:{self.checksum}\n")
        pip = (sys.executable, "-m", "pip", "--disable-pip-version-check")
        if subprocess.run([*pip, "--version"], capture_output=True, check=False).returncode:
            raise BuildError(f"pip is missing: `{sys.executable} -m ensurepip`", 3)
        only = ("--no-deps", "--only-binary=:all:", "--require-hashes")
        run(*pip, "download", *only, f"--dest={folder}", f"--requirement={wish}")
        next(folder.glob("*.whl")).rename(folder / self.name)


Program = GoProgram | NodeProgram | Wheel


@dataclass(frozen=True)
class Base:
    """A root file system of Debian's packages that stand-ins share."""

    packages: tuple[str, ...]
    lasts: str = "about a minute"

    @property
    def image(self) -> str:
        """Its name, after all that it is made of."""
        recipe = (SUITE, self.packages, EXCLUDED, BEFORE_PACKAGES, AFTER_PACKAGES)
        return f"{PREFIX}/base:{hashlib.sha256(repr(recipe).encode()).hexdigest()[:12]}"


SUITE = "bookworm"
# What applications and most servers need.
COMMON = Base(
    (
        "ca-certificates",
        "celery",
        "certbot",
        "curl",
        "gunicorn",
        "nginx",
        "nodejs",
        "openssl",
        "postgresql-15",
        "python3-asgiref",
        "python3-boto3",
        "python3-celery",
        "python3-flask",
        "python3-humanize",
        "python3-pika",
        "python3-prometheus-client",
        "python3-psycopg2",
        "python3-pymongo",
        "python3-redis",
        "python3-tds",
        "python3-tornado",
        "python3-yaml",
        "redis-server",
        "uvicorn",
    )
)
# Apart from the others, as few systems ask for it. Python is for rabbitmqadmin.
MESSAGING = Base(("python3", "rabbitmq-server"), "half a minute")
# Only a place to take programs from: these images hold little more than their program.
MONITORING = Base(
    (
        "busybox-static",
        "ca-certificates",
        "prometheus",
        "prometheus-alertmanager",
        "prometheus-blackbox-exporter",
        "prometheus-elasticsearch-exporter",
        "prometheus-nginx-exporter",
        "prometheus-node-exporter",
        "prometheus-postgres-exporter",
        "prometheus-redis-exporter",
    ),
    "three quarters of a minute",
)

# For what has no package: one program of ours answers in their places.
RESPONDING = Base(
    (
        "busybox",
        "ca-certificates",
        "curl",
        "openssl",
        "python3",
        "python3-pkg-resources",  # python3-tds wants it without saying so
        "python3-psycopg2",
        "python3-pymongo",
        "python3-redis",
        "python3-tds",
        "python3-yaml",
    ),
    "half a minute",
)


@dataclass(frozen=True)
class Recipe:
    """A Docker build context whose Dockerfile starts `FROM ${BASE}`."""

    context: Path
    is_really: str
    #: What is made on this machine and lies in the context beside its files.
    programs: tuple[Program, ...] = ()
    base: Base = COMMON
    #: The stage of a Dockerfile that makes several images.
    target: str = ""


# Where Go's own instructions put it, often without PATH being told.
GO_FOLDER = "/usr/local/go/bin"
# The source of RELEASE.2025-09-07T16-13-09Z.
MINIO_SERVER = GoProgram(
    name="minio",
    module="github.com/minio/minio",
    version="v0.0.0-20250907161309-07c3a429bfed",
    checksum="h1:deu0m9BiyqnMbGWfJi1PpVyotSXlDnTmRIme1cUXnxo=",
    lasts="3 to 5 minutes",
)
# The newest one that has been published as a module.
MINIO_CLIENT = GoProgram(
    name="mc",
    module="github.com/minio/mc",
    version="v0.0.0-20250313080218-cf909e1063a9",
    checksum="h1:6RyInOHKL6jz8zxcAar/h6rg/aJCxDP/uFuSNvYSuMI=",
    lasts="1 minute",
)
FERRETDB = GoProgram(
    name="ferretdb",
    module="github.com/FerretDB/FerretDB",
    version="v1.24.2",
    checksum="h1:trrUU0LbmusMbyubhPS1IELncvrIwKrsRT2LW1UUWCw=",
    lasts="2 minutes",
    package="./cmd/ferretdb",
    tags="ferretdb_no_postgresql",
    patch=HERE / "mongo" / "ferretdb.patch",
    added=HERE / "mongo" / "ferretdb-additions",
)
MONGOSH = NodeProgram(
    name="mongosh.js",
    packages=HERE / "mongo" / "mongosh-packages",
    entry="@mongosh/cli-repl/bin/mongosh.js",
    lasts="1 minute",
    absent=(
        *("@babel/preset-typescript/package.json", "bindings", "electron", "ipv6-normalize"),
        *("source-map", "*.node"),
    ),
)
FLOWER_WHEEL = Wheel(
    name="flower.whl",
    requirement="flower==2.0.1",
    checksum="9db2c621eeefbc844c8dd88be64aef61e84e2deb29b271e02ab2b5b9f01068e2",
    lasts="seconds",
)

CERTBOT = Recipe(HERE / "certbot", "Certbot 2.1 from Debian")
ELASTICSEARCH = Recipe(
    HERE / "elasticsearch",
    "a program of ours on SQLite: it has Elasticsearch's HTTP interface",
    base=RESPONDING,
)
FLOWER = Recipe(HERE / "flower", "Flower 2.0 from PyPI on Debian's Celery 5.2", (FLOWER_WHEEL,))
MINIO = Recipe(
    HERE / "minio",
    "MinIO and its client mc, compiled from their Go modules",
    (MINIO_SERVER, MINIO_CLIENT),
)
MONGO = Recipe(
    HERE / "mongo",
    "FerretDB 1.24 on SQLite, patched, with mongosh: it speaks MongoDB's protocol",
    (FERRETDB, MONGOSH),
)
MSSQL = Recipe(
    HERE / "mssql",
    "a program of ours on SQLite: it speaks SQL Server's protocol",
    base=RESPONDING,
)
NGINX = Recipe(HERE / "nginx", "nginx 1.22 from Debian")
POSTGRES = Recipe(HERE / "postgres", "PostgreSQL 15 from Debian")
RABBITMQ = Recipe(HERE / "rabbitmq", "RabbitMQ 3.10 from Debian", base=MESSAGING)
REDIS = Recipe(HERE / "redis", "Redis 7.0 from Debian")


def _monitoring(target: str, is_really: str) -> Recipe:
    return Recipe(HERE / "monitoring", f"{is_really} from Debian", base=MONITORING, target=target)


ALERTMANAGER = _monitoring("alertmanager", "Alertmanager 0.25")
BLACKBOX_EXPORTER = _monitoring("blackbox", "the blackbox exporter 0.23")
ELASTICSEARCH_EXPORTER = _monitoring("elasticsearch", "the exporter for Elasticsearch 1.5")
NGINX_EXPORTER = _monitoring("nginx", "the exporter for nginx 0.11")
NODE_EXPORTER = _monitoring("node", "the node exporter 1.5")
POSTGRES_EXPORTER = _monitoring("postgres", "the exporter for PostgreSQL 0.11")
PROMETHEUS = _monitoring("prometheus", "Prometheus 2.42")
REDIS_EXPORTER = _monitoring("redis", "the exporter for Redis 1.45")


def _responder(target: str, place: str) -> Recipe:
    is_really = f"a program that answers in the place of {place}"
    return Recipe(HERE / "responders", is_really, base=RESPONDING, target=target)


FILEBEAT = _responder("filebeat", "Filebeat")
GLITCHTIP = _responder("glitchtip", "GlitchTip")
GRAFANA = _responder("grafana", "Grafana")
KIBANA = _responder("kibana", "Kibana")
LOGSTASH = _responder("logstash", "Logstash")
METABASE = _responder("metabase", "Metabase")
MONGODB_EXPORTER = _responder("mongodb-exporter", "the exporter for MongoDB")
MSSQL_EXPORTER = _responder("mssql-exporter", "the exporter for SQL Server")
NGROK = _responder("ngrok", "ngrok")
PGADMIN = _responder("pgadmin", "pgAdmin")
PORTAINER = _responder("portainer", "Portainer")
# Every image that is not a server is taken for an application of the documented systems.
REFERENCE = Recipe(HERE.parent / "reference", "the reference workload")

SERVERS = {
    "awaragi/prometheus-mssql-exporter": MSSQL_EXPORTER,
    "beats/filebeat": FILEBEAT,
    "certbot/certbot": CERTBOT,
    "dpage/pgadmin4": PGADMIN,
    "elasticsearch": ELASTICSEARCH,
    "elasticsearch/elasticsearch": ELASTICSEARCH,
    "glitchtip/glitchtip": GLITCHTIP,
    "grafana/grafana": GRAFANA,
    "kibana": KIBANA,
    "kibana/kibana": KIBANA,
    "logstash": LOGSTASH,
    "logstash/logstash": LOGSTASH,
    "metabase/metabase": METABASE,
    "mher/flower": FLOWER,
    "minio/minio": MINIO,
    "mongo": MONGO,
    "mssql/server": MSSQL,
    "ngrok/ngrok": NGROK,
    "nginx": NGINX,
    "nginx/nginx-prometheus-exporter": NGINX_EXPORTER,
    "oliver006/redis_exporter": REDIS_EXPORTER,
    "percona/mongodb_exporter": MONGODB_EXPORTER,
    "portainer/portainer-ce": PORTAINER,
    "postgres": POSTGRES,
    "prom/alertmanager": ALERTMANAGER,
    "prom/blackbox-exporter": BLACKBOX_EXPORTER,
    "prom/node-exporter": NODE_EXPORTER,
    "prom/prometheus": PROMETHEUS,
    "prometheus/alertmanager": ALERTMANAGER,
    "prometheus/blackbox-exporter": BLACKBOX_EXPORTER,
    "prometheus/node-exporter": NODE_EXPORTER,
    "prometheus/prometheus": PROMETHEUS,
    "prometheuscommunity/elasticsearch-exporter": ELASTICSEARCH_EXPORTER,
    "prometheuscommunity/postgres-exporter": POSTGRES_EXPORTER,
    "rabbitmq": RABBITMQ,
    "redis": REDIS,
}

# Servers that the reference workload must not be mistaken for.
NO_STAND_IN = frozenset(
    {
        "mariadb",
        "memcached",
        "minio/mc",
        "mongo-express",
        "mysql",
        "pgvector/pgvector",
        "postgis/postgis",
        "timescale/timescaledb",
        "valkey/valkey",
    }
)

# What no container here reads; it would double the image. Without PostgreSQL's compiler plug-in
# and LLVM, queries are interpreted, which the server does by itself.
EXCLUDED = (
    "/usr/share/doc/*",
    "/usr/share/i18n/*",
    "/usr/share/info/*",
    "/usr/share/javascript/*",
    "/usr/share/locale/*",
    "/usr/share/man/*",
    "/usr/lib/*/libLLVM-14*",
    "/usr/lib/*/libz3.so*",
    "/usr/lib/postgresql/*/lib/bitcode/*",
    "/usr/lib/postgresql/*/lib/llvmjit*",
)
# Shell, with the root file system as $1: before our packages, and after them.
BEFORE_PACKAGES = (
    'mkdir -p "$1/etc/postgresql-common/createcluster.d"; '
    'echo "create_main_cluster = false" > "$1/etc/postgresql-common/createcluster.d/none.conf"'
)
# The machine's name, mirrors and apt settings stay on the machine, and no image holds a private
# key (ssl-cert makes one). Of all of AWS's services, S3 is the one that containers here talk to.
AFTER_PACKAGES = (
    'aws="$1/usr/lib/python3/dist-packages/botocore/data"; '
    '[ ! -d "$aws" ] || find "$aws" -mindepth 1 -maxdepth 1 -type d '
    "! -name s3 ! -name sts -exec rm -r {} +; "
    'rm -rf "$1"/etc/hostname "$1"/etc/resolv.conf '
    '"$1"/etc/apt/sources.list* "$1"/etc/apt/apt.conf.d/99mmdebstrap '
    '"$1"/etc/ssl/certs/ssl-cert-snakeoil.pem "$1"/etc/ssl/private/ssl-cert-snakeoil.key '
    '"$1"/var/log/*.log "$1"/var/cache/debconf/*-old "$1"/var/lib/dpkg/*-old'
)


class BuildError(Exception):
    """A message for the user, and the exit code that goes with it."""

    def __init__(self, message: str, code: int = 1) -> None:
        super().__init__(message)
        self.code = code


# --- image names -----------------------------------------------------------------------------

_COMPONENT = r"[a-z0-9]+(?:(?:\.|_{1,2}|-+)[a-z0-9]+)*"
_REFERENCE = re.compile(
    rf"(?:(?P<host>localhost|localhost:\d+|[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+(?::\d+)?"
    rf"|[A-Za-z0-9-]+:\d+)/)?"
    rf"(?P<repository>{_COMPONENT}(?:/{_COMPONENT})*)"
    rf"(?::(?P<tag>[A-Za-z0-9_][A-Za-z0-9._-]{{0,127}}))?"
)


def parse(image: str) -> tuple[str, str]:
    """The repository, without its registry host, and the tag of a Docker image reference."""
    if "@" in image:
        raise BuildError(
            f"{image}: a digest names exact bytes, nothing can stand in; give a tag", 2
        )
    match = _REFERENCE.fullmatch(image)
    if match is None:
        raise BuildError(f"{image!r} is not an image name such as postgres:15", 2)
    return match["repository"], match["tag"] or "latest"


def stand_in_name(image: str) -> str:
    """What the stand-in of an image is called."""
    repository, tag = parse(image)
    return f"{PREFIX}/{repository}:{tag}"


def recipe_for(image: str) -> Recipe:
    """How to build the stand-in of an image; BuildError when there is none."""
    repository = parse(image)[0].removeprefix("library/")
    if repository in NO_STAND_IN:
        raise BuildError(f"{image}: no stand-in exists yet for {repository}")
    return SERVERS.get(repository, REFERENCE)


# --- recipes as bytes ------------------------------------------------------------------------


def context_tar(folder: Path) -> bytes:
    """The build context. The same files give the same bytes, so they are the recipe's identity."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for path in sorted(folder.rglob("*")):
            if not path.is_file() or path.suffix in {".md", ".pyc"}:
                continue
            entry = tarfile.TarInfo(path.relative_to(folder).as_posix())
            entry.size = path.stat().st_size
            entry.mode = 0o755 if path.stat().st_mode & 0o100 else 0o644
            with path.open("rb") as content:
                tar.addfile(entry, content)
    return buffer.getvalue()


def with_programs(context: bytes, programs: Sequence[Path]) -> bytes:
    """The build context, and beside its files the programs made for it."""
    buffer = io.BytesIO(context)
    with tarfile.open(fileobj=buffer, mode="a", format=tarfile.PAX_FORMAT) as tar:
        for path in programs:
            entry = tarfile.TarInfo(path.name)
            entry.size = path.stat().st_size
            entry.mode = 0o755
            with path.open("rb") as content:
                tar.addfile(entry, content)
    return buffer.getvalue()


def recipe_hash(recipe: Recipe, context: bytes) -> str:
    """What a stand-in is made of; the same hash means up to date."""
    made = "".join(program_hash(program) for program in recipe.programs)
    rest = f"{recipe.base.image}{made}{recipe.target}"
    return hashlib.sha256(context + rest.encode()).hexdigest()


def program_hash(program: Program) -> str:
    """What a program is made of: another one, another hash, on every machine the same."""
    digest = hashlib.sha256()
    for field in fields(program):
        value = getattr(program, field.name)
        if isinstance(value, Path):
            value = context_tar(value) if value.is_dir() else value.read_bytes()
        if value and field.name != "lasts":
            digest.update(f"{field.name}={value!r};".encode())
    return digest.hexdigest()


# --- the work --------------------------------------------------------------------------------

_STARTED = time.monotonic()


def say(line: str) -> None:
    """One line of progress."""
    print(f"[{time.monotonic() - _STARTED:6.1f}s] {line}", file=sys.stderr, flush=True)


def tool(name: str, remedy: str, *folders: str) -> str:
    """Where a program is that must be there already."""
    path = shutil.which(name, path=os.pathsep.join((os.environ.get("PATH", ""), *folders)))
    if path is None:
        raise BuildError(f"{name} is missing: {remedy}", 3)
    return path


@contextmanager
def still(what: str) -> Generator[None]:
    """Says every half minute that it is still at it."""
    ended = threading.Event()
    started = time.monotonic()

    def tell() -> None:
        while not ended.wait(30):
            say(f"{what}: still at it after {time.monotonic() - started:.0f} s")

    teller = threading.Thread(target=tell, daemon=True)
    teller.start()
    try:
        yield
    finally:
        ended.set()
        teller.join()


def run(
    *command: str,
    stdin: bytes = b"",
    env: dict[str, str] | None = None,
    cwd: Path | None = None,
) -> str:
    """Run to the end, silently; on error show the end of what the command said."""
    process = subprocess.Popen(
        command,
        cwd=cwd,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={**os.environ, **(env or {})},
        start_new_session=True,
    )
    try:
        output = process.communicate(stdin)[0].decode(errors="replace")
    except BaseException:
        # Its children too: mmdebstrap waits for them, then removes what it made.
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.communicate(timeout=20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
        raise
    if process.returncode:
        tail = "\n".join(output.splitlines()[-30:])
        raise BuildError(f"{' '.join(command[:2])} failed ({process.returncode}):\n{tail}")
    return output


def docker_label(image: str, label: str) -> str | None:
    """The label of a local image; "" when the image has none, None when there is no image."""
    template = f'{{{{index .Config.Labels "{label}"}}}}'
    found = subprocess.run(
        ["docker", "image", "inspect", "--format", template, image],
        capture_output=True,
        check=False,
        text=True,
    )
    return found.stdout.strip() if found.returncode == 0 else None


def require_docker() -> None:
    """Docker must answer before anything is built."""
    if shutil.which("docker") is None:
        raise BuildError("docker is not installed", 3)
    if subprocess.run(["docker", "version"], capture_output=True, check=False).returncode:
        raise BuildError("docker is installed but its daemon does not answer: see `docker info`", 3)


def require_mmdebstrap() -> None:
    """Install mmdebstrap where we may, else say how."""
    if shutil.which("mmdebstrap"):
        return
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        raise BuildError(
            "mmdebstrap is missing. On Debian or Ubuntu, as root: "
            "apt-get install mmdebstrap debian-archive-keyring. Elsewhere: build on such a machine "
            "and move the images with docker save and docker load",
            3,
        )
    install = ("apt-get", "install", "-y", "--no-install-recommends")
    for command in (("apt-get", "update"), (*install, "mmdebstrap", "debian-archive-keyring")):
        say(" ".join(command))
        run(*command, env={"DEBIAN_FRONTEND": "noninteractive"})


def apt_sources(folder: Path) -> tuple[list[str], list[str]]:
    """The machine's own entries for SUITE, as sources.list lines and as deb822 paragraphs.

    They may name a mirror that is the only one in reach. A machine on another distribution has
    none; mmdebstrap then takes Debian's own archive.
    """
    suites = {SUITE, f"{SUITE}-updates", f"{SUITE}-security"}
    lines: list[str] = []
    for path in [folder / "sources.list", *sorted(folder.glob("sources.list.d/*.list"))]:
        for line in path.read_text().splitlines() if path.is_file() else []:
            entry = re.match(r"deb\s+(?:\[[^]]*\]\s+)?\S+\s+(\S+)\s", line)
            if entry and entry[1] in suites:
                lines.append(line)
    paragraphs: list[str] = []
    for path in sorted(folder.glob("sources.list.d/*.sources")):
        for paragraph in re.split(r"\n\s*\n", path.read_text()):
            fields = dict(re.findall(r"^([A-Za-z-]+):[ \t]*(.*)$", paragraph, re.MULTILINE))
            named = fields.get("Suites", "").split()
            enabled = (
                fields.get("Enabled", "yes") == "yes" and "deb" in fields.get("Types", "").split()
            )
            if named and suites.issuperset(named) and enabled:
                paragraphs.append(paragraph.strip())
    return lines, paragraphs


def build_base(base: Base) -> None:
    """Make the root file system and import it under its name, as the last step."""
    with tempfile.TemporaryDirectory(prefix="standin-") as name:
        folder = Path(name)
        folder.chmod(0o755)  # without root, mmdebstrap works here under other user ids
        archive = folder / "base.tar"
        lines, paragraphs = apt_sources(Path("/etc/apt"))
        deb822 = folder / "machine.sources"
        deb822.write_text("\n\n".join(paragraphs) + "\n")
        settings = folder / "apt.conf"
        settings.write_text(run("apt-config", "dump", "--format", '%F "%v";%n', "Acquire"))

        say(f"{base.image}: installing {len(base.packages)} packages and theirs ({base.lasts})")
        run(
            "mmdebstrap",
            "--mode=unshare",  # its mounts end with it, so an interruption cannot leave one
            "--variant=minbase",
            f"--include={','.join(base.packages)}",
            f"--aptopt={settings}",
            *(f"--dpkgopt=path-exclude={path}" for path in EXCLUDED),
            f"--essential-hook={BEFORE_PACKAGES}",
            f"--customize-hook={AFTER_PACKAGES}",
            SUITE,
            str(archive),
            *lines,
            *([str(deb822)] if paragraphs else []),
            env={"TMPDIR": name},
        )
        say(f"{base.image}: importing {archive.stat().st_size / 1e6:.0f} MB")
        run("docker", "import", "--change", "LABEL standin=true", str(archive), base.image)


def make_program(program: Program) -> Path:
    """The program's file; made if this machine has not made the same one before."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "pulumi-tiers"
    made = cache / f"{program.name}-{program_hash(program)[:12]}" / program.name
    if made.is_file():
        return made
    cache.mkdir(parents=True, exist_ok=True)
    say(f"making {made}, once: {program.lasts}")
    with (
        tempfile.TemporaryDirectory(prefix=f"{program.name}-", suffix=".new", dir=cache) as name,
        still(program.name),
    ):
        program.make(Path(name))
        # Complete or not there at all, also for another checkout that makes the same.
        made.parent.mkdir(exist_ok=True)
        (Path(name) / program.name).replace(made)
    return made


def build_image(image: str, recipe: Recipe) -> None:
    """Build one stand-in on its base, unless it is up to date."""
    name = stand_in_name(image)
    context = context_tar(recipe.context)
    identity = recipe_hash(recipe, context)
    if docker_label(name, "standin.recipe") == identity:
        say(f"{image}: {name} is up to date")
        return
    context = with_programs(context, [make_program(program) for program in recipe.programs])
    labels = {"standin": "true", "standin.for": image, "standin.recipe": identity}
    # Nothing but the base and the context goes in, so the build needs no network.
    run(
        *("docker", "build", "--force-rm", "--network", "none"),
        *("--build-arg", f"BASE={recipe.base.image}", "--tag", name),
        *(("--target", recipe.target) if recipe.target else ()),
        *(f"--label={key}={value}" for key, value in labels.items()),
        "-",
        stdin=context,
    )
    say(f"{image}: {name} is {recipe.is_really}")


@contextmanager
def one_at_a_time() -> Generator[None]:
    """A second build waits for the first, then finds its images."""
    with Path(__file__).open() as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("waiting for another build to end")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def build(images: Sequence[str]) -> dict[str, str]:
    """Build what is not up to date; the stand-in of each image."""
    recipes = {image: recipe_for(image) for image in images}  # all refusals before any work
    require_docker()
    with one_at_a_time():
        for base in dict.fromkeys(recipe.base for recipe in recipes.values()):
            if docker_label(base.image, "standin") is None:
                require_mmdebstrap()
                build_base(base)
            else:
                say(f"{base.image} is up to date")
        failures: list[BuildError] = []
        for image, recipe in recipes.items():
            try:
                build_image(image, recipe)
            except BuildError as error:
                failures.append(BuildError(f"{image}: {error}", error.code))
                if error.code != 3:
                    break
                # The others do not need the tool that this one lacks.
    if failures:
        raise BuildError("\nerror: ".join(map(str, failures)), failures[-1].code)
    return {image: stand_in_name(image) for image in images}


def _interrupt(signum: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; the exit code."""
    parser = argparse.ArgumentParser(
        description="Build stand-ins for container images from Debian's packages."
    )
    parser.add_argument("images", nargs="+", metavar="IMAGE", help="as documented: postgres:15")
    images: list[str] = parser.parse_args(arguments).images
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    try:
        print(json.dumps(build(images), indent=2))
    except BuildError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.code
    except KeyboardInterrupt:
        print("interrupted; nothing half-made is left", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
