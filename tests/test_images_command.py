"""`tiers images`: which image each service has, in the stack's file, and from the last `up`."""

import gzip
import hashlib
import io
import json
import shutil
import subprocess
import tarfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml
from pulumi_tiers.cli.docker import run as docker
from sandbox import APP, ROOT, Sandbox
from test_cli import tiers

KEY = "tiers:images"
DIGEST = "sha256:" + "0123456789abcdef" * 4
PINNED = f"marcospaulo1991/encontros-tech:main-8c2f1a0@{DIGEST}"
FILE = """\
# This stack is mine.
config:
  tiers:environment: production    # words
  tiers:target: kubernetes
  tiers:systems: [pigmeu, encontros-tech]
  tiers:secrets: {pigmeu/OPENAI_API_KEY: {secure: v1:abc}}
  tiers:tls: {pigmeu: {mode: "off"}}
  # theirs
  tiers:images: {pigmeu/api: "ghcr.io/me/api:1"}
encryptionsalt: v1:abc
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Of a stack that does not run, where no Pulumi is."""
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setenv("PULUMI_HOME", str(tmp_path / "none"))
    (tmp_path / "bin").mkdir()
    for name in ("Pulumi.yaml", "Pulumi.dev.yaml", "__main__.py"):
        (tmp_path / name).write_text((ROOT / name).read_text(), encoding="utf-8")
    (tmp_path / "Pulumi.prod.yaml").write_text(FILE, encoding="utf-8")
    return tmp_path


def rows(project: Path, *arguments: str, stack: str = "prod") -> dict[str, dict[str, Any]]:
    said = tiers("images", *arguments, "--json", "--stack", stack, cwd=project).stdout
    return {f"{row['system']}/{row['service']}": row for row in json.loads(said)}


def configure(project: Path, **config: object) -> None:
    text = yaml.safe_dump({"config": {f"tiers:{key}": value for key, value in config.items()}})
    (project / "Pulumi.prod.yaml").write_text(text, encoding="utf-8")


def configured(project: Path) -> dict[str, str]:
    content = yaml.safe_load((project / "Pulumi.prod.yaml").read_text())
    found: dict[str, str] = content["config"].get(KEY, {})
    return found


# --- the table ------------------------------------------------------------------------------------


def test_alone_it_shows_what_there_is_and_why(project: Path) -> None:
    shown = rows(project)
    assert {key: (row["image"], row["why"]) for key, row in shown.items()} == {
        APP: ("marcospaulo1991/encontros-tech:latest", "description"),
        "encontros-tech/postgres": ("postgres:15", "description"),
        "pigmeu/api": ("ghcr.io/me/api:1", "tiers:images"),
        "pigmeu/migrations": ("pigmeu/api:latest", "description"),
        "pigmeu/mongo": ("mongo:7", "description"),
        "pigmeu/nginx": ("nginx:alpine", "description"),
        "pigmeu/redis": ("redis:7-alpine", "description"),
        "pigmeu/worker": ("pigmeu/worker:latest", "description"),
    }
    assert shown["pigmeu/api"]["described"] == "pigmeu/api:latest"
    assert (project / "Pulumi.prod.yaml").read_text() == FILE
    lines = tiers("images", "-s", "prod", cwd=project).stdout.splitlines()
    assert ["pigmeu/api", "ghcr.io/me/api:1", "tiers:images"] in [line.split() for line in lines]


def test_a_mirror_is_a_reason_of_its_own(project: Path) -> None:
    configure(project, registry="mirror.example.com/hub", images={APP: PINNED})
    shown = rows(project)
    assert shown["encontros-tech/postgres"] == {
        "system": "encontros-tech",
        "service": "postgres",
        "image": "mirror.example.com/hub/postgres:15",
        "why": "tiers:registry",
        "described": "postgres:15",
    }
    assert shown[APP]["image"] == PINNED


def test_what_the_cloud_runs_has_no_image_to_name(project: Path) -> None:
    configure(project, environment="production", target="digitalocean")
    assert set(rows(project)) == {APP}
    said = tiers("images", "postgres=postgres:16", "-s", "prod", cwd=project, code=2).stderr
    assert "the stack runs no 'postgres' that has an image" in said


def test_what_is_built_from_a_checkout_has_none_either(project: Path) -> None:
    (project / "checkout").mkdir()
    configure(project, systems=["vision"], sources={"vision": "checkout"})
    built = [row for row in rows(project).values() if row["why"] == "built"]
    assert built
    assert {row["image"] for row in built} == {None}
    name = f"vision/{built[0]['service']}"
    assert rows(project, f"{name}=me/it:1")[name]["image"] == "me/it:1"


@pytest.mark.parametrize(
    "system", ["encontros-tech", "nutrifitcoach", "ocolecionador", "pigmeu", "vision"]
)
def test_every_service_of_every_system_can_be_given_another(project: Path, system: str) -> None:
    configure(project, systems=[system], gpu="off")
    wanted = {key: f"ghcr.io/me/it:{key.rpartition('/')[2]}@{DIGEST}" for key in rows(project)}
    given = [f"{key}={image}" for key, image in wanted.items()]
    assert {key: row["image"] for key, row in rows(project, *given).items()} == wanted
    assert configured(project) == wanted


def test_a_value_that_only_the_engine_can_read_is_no_mistake(project: Path) -> None:
    unknown = {"secure": "v1:abc"}
    configure(
        project,
        environment="production",
        target="kubernetes",
        systems=["pigmeu", "vision"],
        secrets={"pigmeu/OPENAI_API_KEY": unknown, "vision/postgres/postgres": unknown},
        tls={
            "pigmeu": {"mode": "given", "certificate": unknown, "key": unknown},
            "vision": {"mode": "off"},
        },
        observability={"vision": {"alerts": {"slack": {"webhook_url": unknown}}}},
    )
    assert "vision/alertmanager" in rows(project)
    for to in ("report", "kubernetes"):
        assert tiers("render", "--to", to, "-s", "prod", cwd=project).stdout


# --- writing --------------------------------------------------------------------------------------


def test_images_go_into_the_file_and_nothing_else_changes(project: Path) -> None:
    path = project / "Pulumi.prod.yaml"
    done = tiers("images", f"{APP}={PINNED}", "worker=me/worker:2", "-s", "prod", cwd=project)
    assert f"Pulumi.prod.yaml says {APP}: {PINNED}" in done.stderr
    assert "next: pulumi up -s prod" in done.stderr
    assert configured(project) == {
        "pigmeu/api": "ghcr.io/me/api:1",
        APP: PINNED,
        "pigmeu/worker": "me/worker:2",
    }
    for line in FILE.splitlines():
        assert line.startswith(f"  {KEY}") or line in path.read_text().splitlines()
    written = path.stat().st_mtime_ns
    assert "says so already" in tiers("images", f"{APP}={PINNED}", "-s", "prod", cwd=project).stderr
    assert path.stat().st_mtime_ns == written
    assert rows(project)[APP]["why"] == "tiers:images"


def test_on_docker_it_names_the_command_for_docker(project: Path) -> None:
    done = tiers("images", f"{APP}={PINNED}", cwd=project)
    assert "next: tiers up --stack dev" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["pigmeu/apy=a:1"], ["no 'pigmeu/apy'", "did you mean 'pigmeu/api'?"]),
        (["pigmoo/api=a:1"], ["no 'pigmoo/api'", "did you mean 'pigmeu/api'?"]),
        (["wroker=a:1"], ["no 'wroker'", "did you mean 'worker'?"]),
        (["api"], ["'api' does not say which image", "write it like worker="]),
        (["api="], ["'api': '' is not an image reference"]),
        (["api=UPPER:1"], ["'UPPER:1' is not an image reference"]),
        (["api=me/api:1@sha256:abc"], ["'me/api:1@sha256:abc' is not an image reference"]),
        (["api=me/api:1 && true"], ["is not an image reference"]),
        (["api=me/api:1", "pigmeu/api=me/api:2"], ["two images for pigmeu/api"]),
        (["apy=me/x:1", "worker=X", "api"], ["3 mistakes"]),
        (["=a:1"], ["no ''"]),
    ],
)
def test_a_mistake_changes_nothing(project: Path, arguments: list[str], parts: list[str]) -> None:
    right = f"{APP}={PINNED}"
    said = tiers("images", right, *arguments, "-s", "prod", cwd=project, code=2).stderr
    for part in parts:
        assert part in said
    assert (project / "Pulumi.prod.yaml").read_text() == FILE


def test_a_stack_that_is_wrong_is_not_written_to(project: Path) -> None:
    before = FILE.replace("production    #", "produktion    #")
    (project / "Pulumi.prod.yaml").write_text(before)
    said = tiers("images", f"{APP}={PINNED}", "-s", "prod", cwd=project, code=2).stderr
    assert "tiers:environment" in said
    assert (project / "Pulumi.prod.yaml").read_text() == before
    assert "there is no stack 'nope'" in tiers("images", "-s", "nope", cwd=project, code=2).stderr


def test_a_program_that_names_its_images_itself_is_told(project: Path) -> None:
    (project / "__main__.py").write_text(
        "from pulumi_tiers import AppTier, Site\n"
        "web = {'image': 'web:1'}\n"
        "AppTier('shop-app', {'site': Site('shop', {}).ref, 'services': {'web': web}})\n"
    )
    for images in ("", "web=web:3"):
        said = tiers("images", *images.split(), cwd=project, code=2).stderr
        assert "__main__.py does not take tiers:images" in said


@pytest.mark.parametrize("target", ["docker", "kubernetes"])
def test_a_program_of_ones_own_may_take_them(project: Path, target: str) -> None:
    (project / "__main__.py").write_text(
        "import pulumi\n"
        "from pulumi_tiers import AppTier, Site\n"
        "images = pulumi.Config('tiers').get_object('images') or {}\n"
        "services = {\n"
        "    'web': {'image': images.get('shop/web', 'web:1')},\n"
        "    'fixed': {'image': 'fixed:1'},\n"
        "}\n"
        f"site = Site('shop', {{'target': '{target}'}})\n"
        "AppTier('shop-app', {'site': site.ref, 'services': services})\n"
    )
    configure(project)
    [web] = rows(project).values()
    assert (web["service"], web["image"], web["why"]) == ("web", "web:1", "description")
    image = f"ghcr.io/me/web:3@{DIGEST}"
    [web] = rows(project, f"shop/web={image}").values()
    assert (web["image"], web["why"], web["described"]) == (image, KEY, "web:1")
    written = yaml.safe_load((project / "Pulumi.prod.yaml").read_text())
    assert written["config"][KEY] == {"shop/web": image}
    said = tiers("images", "fixed=fixed:2", "-s", "prod", cwd=project, code=2).stderr
    assert "'fixed' that has an image" in said


# --- what was deployed ----------------------------------------------------------------------------


def stub(project: Path, *, answer: str = "", error: str = "", code: int = 0) -> Path:
    """A `pulumi` that answers so. Returns where it leaves its arguments."""
    asked = project / "asked"
    path = project / "bin" / "pulumi"
    path.write_text(
        f"#!/bin/sh\necho \"$PWD: $*\" >> '{asked}'\n"
        f"printf '%s' '{answer}'\nprintf '%s' '{error}' >&2\nexit {code}\n"
    )
    path.chmod(0o755)
    return asked


def test_what_was_deployed_carries_on_where_nobody_says_otherwise(project: Path) -> None:
    outputs = {
        "target": "kubernetes",
        "images": {
            APP: PINNED,
            "pigmeu/api": f"me/api:old@{DIGEST}",
            "pigmeu/worker": f"me/worker:old@{DIGEST}",
            "pigmeu/gone": "me/gone:1",
        },
    }
    asked = stub(project, answer=json.dumps(outputs))
    shown = rows(project, "worker=me/worker:new", "--deployed")
    assert asked.read_text() == (
        f"{project.resolve()}: stack output --json --stack prod --non-interactive\n"
    )
    assert configured(project) == {
        "pigmeu/api": "ghcr.io/me/api:1",
        APP: PINNED,
        "pigmeu/worker": "me/worker:new",
    }
    reasons = {key: row["why"] for key, row in shown.items() if row["image"] != row["described"]}
    assert reasons == {
        APP: "deployed",
        "pigmeu/api": "tiers:images",
        "pigmeu/worker": "tiers:images",
    }
    again = tiers("images", "--deployed", "-s", "prod", cwd=project).stderr
    assert "pigmeu/gone was deployed, and the stack runs it no more" in again
    assert "says so already" in again


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ({"error": "error: no stack named prod found", "code": 6}, "no stack prod yet"),
        ({"answer": "{}"}, "stack prod has no output"),
        ({"answer": '{"images": {}}'}, "says so already"),
    ],
)
def test_where_nothing_was_deployed_nothing_carries_on(
    project: Path, said: dict[str, Any], told: str
) -> None:
    stub(project, **said)
    assert told in tiers("images", "--deployed", "-s", "prod", cwd=project).stderr
    assert (project / "Pulumi.prod.yaml").read_text() == FILE


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ({"error": "error: bucket: 403", "code": 1}, "can't tell what was deployed: error: bucket"),
        ({"code": 255}, "can't tell what was deployed: it said nothing"),
        ({"answer": '{"images": ["a"]}'}, "is not a map of image references"),
        ({"answer": '{"images": {"a/b": "UPPER"}}'}, "is not a map of image references"),
        ({"answer": '{"images": {"a/b": 1}}'}, "is not a map of image references"),
        ({"answer": "[]"}, "is not a map of image references"),
        ({"answer": "not JSON"}, "is not a map of image references"),
    ],
)
def test_where_the_engine_fails_nothing_is_written(
    project: Path, said: dict[str, Any], told: str
) -> None:
    stub(project, **said)
    done = tiers("images", f"{APP}={PINNED}", "--deployed", "-s", "prod", cwd=project, code=1)
    assert told in done.stderr
    assert (project / "Pulumi.prod.yaml").read_text() == FILE


def test_without_the_engine_it_says_what_is_missing(project: Path) -> None:
    said = tiers("images", "--deployed", "-s", "prod", cwd=project, code=3).stderr
    assert "the Pulumi CLI is needed" in said


@pytest.mark.engine
def test_the_real_engine_tells_what_was_deployed(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    path = project / "Pulumi.prod.yaml"
    path.write_text(FILE.replace("encryptionsalt: v1:abc\n", ""))
    (tmp_path / "state").mkdir()
    monkeypatch.setenv("PULUMI_BACKEND_URL", f"file://{tmp_path}/state")
    monkeypatch.setenv("PULUMI_CONFIG_PASSPHRASE", "of this test")
    monkeypatch.setenv("PULUMI_SKIP_UPDATE_CHECK", "true")

    def pulumi(*arguments: str, given: str = "") -> str:
        command = ["pulumi", *arguments, "--stack", "prod", "--non-interactive"]
        done = subprocess.run(
            command, cwd=project, input=given, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    said = tiers("images", "--deployed", "-s", "prod", cwd=project).stderr
    assert "the backend has no stack prod yet" in said
    pulumi("stack", "init", "--secrets-provider", "passphrase")
    said = tiers("images", "--deployed", "-s", "prod", cwd=project).stderr
    assert "stack prod has no output 'images' yet" in said

    # As if an `up` had ended with these outputs.
    state = json.loads(pulumi("stack", "export"))
    kind = "pulumi:pulumi:Stack"
    name = "tiers-prod"
    made = {
        "urn": f"urn:pulumi:prod::tiers::{kind}::{name}",
        "custom": False,
        "type": kind,
        "outputs": {"images": {APP: PINNED}},
    }
    state["deployment"]["resources"] = [made]
    pulumi("stack", "import", given=json.dumps(state))
    rows(project, "--deployed")
    assert configured(project)[APP] == PINNED

    monkeypatch.setenv("PULUMI_BACKEND_URL", f"file://{tmp_path}/elsewhere")
    done = tiers("images", "--deployed", "-s", "prod", cwd=project, code=1)
    assert "can't tell what was deployed" in done.stderr


# --- digests on the platforms ---------------------------------------------------------------------


def test_a_digest_reaches_every_platform_as_it_is_written(project: Path) -> None:
    for target, kind, inside in (
        ("docker", "docker:index/remoteImage:RemoteImage", "name"),
        ("kubernetes", "kubernetes:apps/v1:Deployment", "spec"),
        ("digitalocean", "kubernetes:apps/v1:Deployment", "spec"),
    ):
        configure(project, target=target, images={APP: PINNED})
        graph = json.loads(tiers("render", "--to", "graph", "-s", "prod", cwd=project).stdout)
        found = [item["inputs"][inside] for item in graph["resources"] if item["type"] == kind]
        assert PINNED in json.dumps(found), target
    configure(project, images={APP: PINNED})
    rendered = tiers("render", "--to", "compose", "-s", "prod", cwd=project).stdout
    services = yaml.safe_load(rendered)["services"].values()
    assert PINNED in [service["image"] for service in services]
    rendered = tiers("render", "--to", "kubernetes", "-s", "prod", cwd=project).stdout
    assert f"image: {PINNED}\n" in rendered


class Registry:
    """A registry on loopback that has one image: busybox, for reading only."""

    def __init__(self) -> None:
        layer = io.BytesIO()
        with tarfile.open(fileobj=layer, mode="w") as archive:
            program = Path(shutil.which("busybox") or "").read_bytes()
            entry = tarfile.TarInfo("bin/busybox")
            entry.size, entry.mode = len(program), 0o755
            archive.addfile(entry, io.BytesIO(program))
            link = tarfile.TarInfo("bin/sh")
            link.type, link.linkname = tarfile.SYMTYPE, "busybox"
            archive.addfile(link)
        self.blobs: dict[str, bytes] = {}
        config = {
            "architecture": docker("version", "--format", "{{.Server.Arch}}").stdout.strip(),
            "os": "linux",
            "config": {"Cmd": ["/bin/sh", "-c", "exec busybox sleep 1000"]},
            "rootfs": {"type": "layers", "diff_ids": [digest_of(layer.getvalue())]},
        }
        kind = "application/vnd.docker"
        self.kind = f"{kind}.distribution.manifest.v2+json"
        manifest = {
            "schemaVersion": 2,
            "mediaType": self.kind,
            "config": self._kept(f"{kind}.container.image.v1+json", json.dumps(config).encode()),
            "layers": [
                self._kept(f"{kind}.image.rootfs.diff.tar.gzip", gzip.compress(layer.getvalue()))
            ],
        }
        self.manifest = json.dumps(manifest).encode()
        self.digest = digest_of(self.manifest)

    def _kept(self, kind: str, content: bytes) -> dict[str, Any]:
        digest = digest_of(content)
        self.blobs[digest] = content
        return {"mediaType": kind, "size": len(content), "digest": digest}

    def find(self, path: str) -> tuple[str, bytes] | None:
        last = path.rpartition("/")[2]
        if "/manifests/" in path:
            return (self.kind, self.manifest) if last in (self.digest, "1") else None
        if last in self.blobs:
            return "application/octet-stream", self.blobs[last]
        return ("application/json", b"{}") if path == "/v2/" else None


def digest_of(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


@pytest.fixture
def image() -> Iterator[str]:
    """An image in a registry, by tag and digest."""
    if shutil.which("busybox") is None:
        pytest.skip("busybox is not installed")
    registry = Registry()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found = registry.find(self.path)
            self.send_response(200 if found else 404)
            kind, content = found or ("application/json", b"{}")
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(content)))
            if found and "/manifests/" in self.path:
                self.send_header("Docker-Content-Digest", registry.digest)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(content)

        def do_HEAD(self) -> None:
            self.do_GET()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    name = f"127.0.0.1:{server.server_address[1]}/web"
    yield f"{name}:1@{registry.digest}"
    server.shutdown()
    server.server_close()
    docker("rmi", f"{name}@{registry.digest}")


@pytest.mark.docker
@pytest.mark.parametrize("runner", ["compose", pytest.param("pulumi", marks=pytest.mark.engine)])
def test_docker_runs_an_image_by_its_digest(sandbox: Sandbox, image: str, runner: str) -> None:
    web = {"image": image, "stop_grace_period": "1s"}
    (sandbox.root / "__main__.py").write_text(
        "from pulumi_tiers import AppTier, Site\n"
        f"AppTier('shop-app', {{'site': Site('shop', {{}}).ref, 'services': {{'web': {web}}}}})\n"
    )
    up = ("up", "--runner", runner)
    sandbox.tiers(*up)
    [container] = sandbox.ids()
    assert sandbox.status()["shop/web"]["image"] == image
    made = json.loads(sandbox.docker("inspect", container))[0]
    pulled = json.loads(sandbox.docker("image", "inspect", made["Image"]))[0]
    assert f"{image.partition(':1@')[0]}@{image.partition('@')[2]}" in pulled["RepoDigests"]
    assert "nothing to change" in sandbox.tiers(*up).stderr
    assert sandbox.ids() == {container}
    sandbox.tiers("down", "--data")


@pytest.mark.docker
@pytest.mark.engine
@pytest.mark.load
def test_what_up_had_is_what_the_next_up_has(sandbox: Sandbox) -> None:
    named = {
        "encontros-tech/postgres": "standin.local/postgres:15",
        APP: "standin.local/marcospaulo1991/encontros-tech:develop",
    }
    sandbox.tiers("up", "--runner", "pulumi")  # builds the stand-ins
    sandbox.configure(**{KEY: named})
    sandbox.tiers("up", "--runner", "pulumi")
    ids = sandbox.ids()
    sandbox.configure(**{KEY: None})
    state = sandbox.root / ".tiers"
    backend = {
        "PULUMI_BACKEND_URL": f"file://{state}/state",
        "PULUMI_CONFIG_PASSPHRASE_FILE": f"{state}/passphrase",
        "PULUMI_SKIP_UPDATE_CHECK": "true",
    }
    said = sandbox.tiers("images", "--deployed", env=backend).stderr
    path = sandbox.root / f"Pulumi.{sandbox.stack}.yaml"
    assert yaml.safe_load(path.read_text())["config"][KEY] == named
    assert f"{APP}: {named[APP]} (deployed)" in said
    assert "nothing to change" in sandbox.tiers("up", "--runner", "pulumi").stderr
    assert sandbox.ids() == ids
    sandbox.tiers("down", "--data")
