"""The bucket for the state of stacks: what is asked for, and what real servers make of it."""

import json
import os
import re
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pulumi
import pytest
import yaml
from containers import Containers, stand_in
from digitalocean import Double
from pulumi_tiers.cli.engine import Engine
from pulumi_tiers.model.errors import DescriptionError
from pulumi_tiers.render.recorder import Recording, Secret, record
from pulumi_tiers.state_bucket import StateBucket, StateBucketArgs

#: Spaces are asked at <bucket>.<host>. No name server knows this one: the server is its own proxy.
HOST = "nyc3.spaces.test"
BUCKET = "digitalocean:index/spacesBucket:SpacesBucket"
KEY = "digitalocean:index/spacesKey:SpacesKey"


def recorded(args: StateBucketArgs, stack: str = "prod") -> Recording:
    def program() -> None:
        made = StateBucket("state", args)
        pulumi.export("url", made.backend_url)
        pulumi.export("key", made.secret_access_key)

    return record(program, project="shop", stack=stack, config={})


def test_it_is_private_keeps_old_versions_and_cannot_be_deleted() -> None:
    recording = recorded({})
    [bucket] = recording.of_type(BUCKET)
    assert bucket.name == "state-bucket"
    assert bucket.protect
    assert bucket.inputs == {
        "name": "prod-state",
        "region": "nyc3",
        "acl": "private",
        "forceDestroy": False,
        "versioning": {"enabled": True},
        "lifecycleRules": [
            {
                "id": "leftovers",
                "enabled": True,
                "abortIncompleteMultipartUploadDays": 1,
                "noncurrentVersionExpiration": {"days": 90},
            }
        ],
    }
    [key] = recording.of_type(KEY)
    assert key.inputs["grants"] == [{"bucket": "prod-state", "permission": "readwrite"}]
    assert isinstance(recording.outputs["key"], Secret)
    assert recording.outputs["url"] == (
        "s3://prod-state?endpoint=https://nyc3.digitaloceanspaces.com&region=nyc3"
        "&response_checksum_validation=when_required"
    )


def test_without_versions_there_are_none_to_delete() -> None:
    [bucket] = recorded({"versioning": False, "protect": False}).of_type(BUCKET)
    assert not bucket.protect
    assert bucket.inputs["versioning"] == {"enabled": False}
    assert "noncurrentVersionExpiration" not in bucket.inputs["lifecycleRules"][0]


def test_a_region_without_spaces_takes_the_nearest() -> None:
    recording = recorded({"region": "nyc1", "name": "shop-states"})
    assert recording.of_type(BUCKET)[0].inputs["region"] == "nyc3"
    assert "s3://shop-states?endpoint=https://nyc3." in recording.outputs["url"]


@pytest.mark.parametrize(
    ("args", "stack", "said"),
    [
        ({"name": "My_Bucket"}, "prod", "StateBucket state: name: .* is not a name for a bucket"),
        ({"name": "ab"}, "prod", "(?s)name: .* 3 to 63"),
        ({"region": "nyc9"}, "prod", "region: DigitalOcean has no region 'nyc9'"),
        ({"regoin": "nyc3"}, "prod", "regoin"),
        ({}, "Prod_1", "(?s)the bucket would be called 'Prod_1-state'.*give a 'name'"),
    ],
)
def test_what_is_wrong_is_said(args: Any, stack: str, said: str) -> None:
    with pytest.raises(DescriptionError, match=said):
        recorded(args, stack)


# --- the real plugin, the real engine, a real S3 --------------------------------------------------

_MISSING = Engine.find(("digitalocean",))[1]
PROGRAM = """
import json
from pathlib import Path

import pulumi
from pulumi_tiers import StateBucket

made = StateBucket("state", json.loads(Path("args.json").read_text()))
for name in ("bucket", "backend_url", "access_key_id", "secret_access_key"):
    pulumi.export(name, getattr(made, name))
"""
EMPTY = {"name": "empty", "runtime": "yaml", "outputs": {"hello": "world"}}


@dataclass
class Store:
    """A MinIO in the place of Spaces, on loopback."""

    url: str
    key: str
    secret: str
    containers: Containers
    server: str

    def mc(self, *arguments: str) -> str:
        done = self.containers.execute(self.server, "mc", *arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout.decode()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    image, key, secret = stand_in("quay.io/minio/minio"), "root-of-tests", "not-a-secret-1"
    with Containers(tmp_path) as containers:
        name = f"{containers.name}-minio"
        containers.docker(
            *("run", "--detach", "--name", name, "--label", f"test={containers.name}"),
            *("--publish", "127.0.0.1::9000", "--tmpfs", "/data", "--memory", "512m"),
            *("--env", f"MINIO_ROOT_USER={key}", "--env", f"MINIO_ROOT_PASSWORD={secret}"),
            *("--env", f"MINIO_DOMAIN={HOST}"),
            *("--env", f"MC_HOST_local=http://{key}:{secret}@127.0.0.1:9000"),
            *(image, "server", "/data"),
        )
        port = containers.docker("port", name, "9000").rpartition(":")[2]
        url = f"http://127.0.0.1:{port}"
        containers.wait(lambda: lives(f"{url}/minio/health/live"), name)
        yield Store(url, key, secret, containers, name)


def lives(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2):
            return True
    except (urllib.error.URLError, OSError):
        return False


@dataclass
class Project:
    """A folder with a program, and where its state is."""

    root: Path
    backend: str
    environment: dict[str, str]

    def run(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            ["pulumi", *arguments, "--non-interactive", "--color", "never"],
            cwd=self.root,
            env={
                **os.environ,
                "PULUMI_BACKEND_URL": self.backend,
                "PULUMI_HOME": str(self.root / "home"),
                "PULUMI_CONFIG_PASSPHRASE": "a passphrase",
                "PULUMI_SKIP_UPDATE_CHECK": "true",
                "PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION": "true",
                **self.environment,
            },
            capture_output=True,
            text=True,
            timeout=200,
            check=False,
        )

    def pulumi(self, *arguments: str) -> str:
        done = self.run(*arguments)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def is_up_to_date(self) -> None:
        """But for the rule about unfinished uploads: MinIO has one of its own, and forgets this."""
        said = self.pulumi("preview", "--refresh", "--diff")
        [difference] = re.findall(r"\w+ *: .* => .*", said)
        assert difference == "abortIncompleteMultipartUploadDays: 0 => 1"


@pytest.mark.docker
@pytest.mark.engine
@pytest.mark.load  # compiles its stand-in the first time, which takes minutes
@pytest.mark.skipif(bool(_MISSING), reason=_MISSING)
def test_a_stack_makes_it_and_moves_into_it(tmp_path: Path, store: Store) -> None:
    (root := tmp_path / "project").mkdir()
    options = {"toolchain": "pip", "virtualenv": sys.prefix}
    runtime = {"name": "python", "options": options}
    (root / "Pulumi.yaml").write_text(yaml.safe_dump({"name": "shop", "runtime": runtime}))
    (root / "__main__.py").write_text(PROGRAM)
    (root / "args.json").write_text(json.dumps({"name": "shop-states"}))
    (first := tmp_path / "first").mkdir()
    with Double() as double:
        spaces = {
            "SPACES_ENDPOINT_URL": f"http://{HOST}",
            "HTTP_PROXY": store.url,
            "NO_PROXY": "127.0.0.1,localhost",
            "SPACES_ACCESS_KEY_ID": store.key,
            "SPACES_SECRET_ACCESS_KEY": store.secret,
        }
        project = Project(root, f"file://{first}", {**double.environment, **spaces})
        project.pulumi("stack", "init", "prod")
        project.pulumi("up", "--yes", "--skip-preview")
        project.is_up_to_date()
        assert "enabled" in store.mc("version", "info", "local/shop-states")
        rules = json.loads(store.mc("ilm", "rule", "export", "local/shop-states"))["Rules"]
        assert rules[0]["NoncurrentVersionExpiration"] == {"NoncurrentDays": 90}
        [key] = double.world.spaces_keys.values()
        assert key["grants"] == [{"bucket": "shop-states", "permission": "readwrite"}]
        outputs = json.loads(project.pulumi("stack", "output", "--json"))
        assert outputs["secret_access_key"] == "[secret]"
        told = json.loads(project.pulumi("stack", "output", "--json", "--show-secrets"))
        state = project.pulumi("stack", "export")
        assert told["secret_access_key"] not in state
        assert double.unknown == []

        # As docs/digitalocean.md says. Here it is another server than Spaces, and its own key.
        project.pulumi("stack", "export", "--file", "state.json")
        there = "https://nyc3.digitaloceanspaces.com"
        project.backend = outputs["backend_url"].replace(there, f"http://{HOST}")
        project.environment |= {
            "AWS_ACCESS_KEY_ID": store.key,
            "AWS_SECRET_ACCESS_KEY": store.secret,
        }
        project.pulumi("login", project.backend)
        project.pulumi("stack", "init", "prod")
        project.pulumi("stack", "import", "--file", "state.json")
        project.is_up_to_date()
        assert "shop/prod.json" in store.mc("ls", "--recursive", "local/shop-states")
        said = project.run("destroy", "--yes", "--skip-preview")
        assert said.returncode
        assert "because it is protected" in said.stdout + said.stderr

        # What a pipeline does with it.
        (other := tmp_path / "other").mkdir()
        (other / "Pulumi.yaml").write_text(yaml.safe_dump(EMPTY))
        empty = Project(other, project.backend, project.environment)
        empty.pulumi("stack", "init", "dev")
        began = time.monotonic()
        assert "world" in empty.pulumi("up", "--yes")
        assert time.monotonic() - began < 60
        assert "prod" in empty.pulumi("stack", "ls", "--all")
        empty.environment = {**empty.environment, "AWS_SECRET_ACCESS_KEY": "wrong"}
        refused = empty.run("stack", "ls")
        assert refused.returncode
        assert "SignatureDoesNotMatch" in refused.stdout + refused.stderr
