"""MinIO: what is described, and what a real server makes of it."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from containers import Containers, stand_in
from pulumi_tiers.engines.base import KEY_LENGTH, Consumer, Reached
from pulumi_tiers.engines.minio import Minio
from pulumi_tiers.model.references import substitute
from pulumi_tiers.model.store import Store
from pulumi_tiers.model.workload import Condition, Resources, Workload

MINIO = Minio()
#: What a shell, a URL or `mc` could take for its own.
EVIL = """p'a"s\\s;:%/@?#&=+ $HOME $$ ${x} `id` | \\n"""


def store(**keys: object) -> Store:
    return Store.model_validate({"engine": "minio", **keys})


VIDEOS = [
    {"name": "videos", "owner": "nfc", "versioning": True},
    {"name": "thumbnails", "owner": "nfc"},
    {"name": "others", "owner": "stranger"},
]


#: A container of the image that does nothing by itself.
WAITING = {"entrypoint": ["sleep"], "command": ["600"], "resources": Resources(memory="512m")}


def setup(said: Store) -> Workload:
    job = MINIO.setup("minio", said)
    assert job is not None
    return job


# --- what is described ----------------------------------------------------------------------------


def test_it_is_run_as_its_image_wants_it() -> None:
    workload = MINIO.workload("minio", store())
    # NF-14: pinned, where it can be had.
    assert workload.image == "quay.io/minio/minio:RELEASE.2025-09-07T16-13-09Z"
    assert workload.command == ["server", "/data", "--console-address", ":9001"]
    assert [port.target for port in workload.ports] == [9000, 9001]
    # OC-18: there is no curl in it.
    assert workload.healthcheck is not None
    assert workload.healthcheck.test == ["CMD", "mc", "ready", "local"]
    assert workload.environment["MINIO_ROOT_USER"] == "minio"
    assert workload.environment["MINIO_ROOT_PASSWORD_FILE"] == "/run/secrets/password"
    assert workload.secret_files == {"password": "${password.minio}"}
    assert workload.secrets == {}
    assert not [key for key in workload.environment if "KMS" in key]


def test_what_it_encrypts_with_is_a_key_of_32_bytes() -> None:
    import base64

    said = store(encryption=True)
    assert MINIO.keys(said) == ["encryption-key"]
    workload = MINIO.workload("minio", said)
    key = substitute(workload.secret_files["encryption-key"], lambda _: "k" * KEY_LENGTH)
    name, _, encoded = key.partition(":")
    assert name == "tiers"
    assert len(base64.b64decode(encoded, validate=True)) == 32
    # NF-12: everything, not only what asks for it.
    assert workload.environment["MINIO_KMS_AUTO_ENCRYPTION"] == "on"


def test_the_connections_are_its_buckets() -> None:
    said = store(admin="boss", buckets=[*VIDEOS, {"name": "shared"}])
    assert MINIO.consumers(said) == {
        "": Consumer("nfc", "videos"),
        "videos": Consumer("nfc", "videos"),
        "thumbnails": Consumer("nfc", "thumbnails"),
        "others": Consumer("stranger", "others"),
        "shared": Consumer("boss", "shared"),
    }
    assert MINIO.users(said) == ["boss", "nfc", "stranger"]


@pytest.mark.parametrize(
    ("host", "port", "url", "tls"),
    [
        ("minio", 9000, "http://minio:9000", False),
        ("nyc3.digitaloceanspaces.com", 443, "https://nyc3.digitaloceanspaces.com", True),
    ],
)
def test_the_url_is_the_endpoint(host: str, port: int, url: str, *, tls: bool) -> None:
    consumer = Consumer("nfc", "videos")
    assert MINIO.url(store(), consumer, "secret", Reached([host], port, tls=tls)) == url


def test_a_key_reaches_its_buckets_and_no_others() -> None:
    job = setup(store(buckets=VIDEOS))
    assert job.depends_on == {"minio": Condition.SERVICE_HEALTHY}
    assert set(job.secrets) == {"ADMIN_PASSWORD", "PASSWORD_0", "PASSWORD_1"}
    policy = json.loads(job.environment["POLICY_PASSWORD_0"])
    allowed = {resource for item in policy["Statement"] for resource in item["Resource"]}
    names = ("thumbnails", "videos")
    assert allowed == {f"arn:aws:s3:::{name}{end}" for name in names for end in ("", "/*")}
    actions = {action for item in policy["Statement"] for action in item["Action"]}
    assert not [action for action in actions if "*" in action or "Policy" in action]
    assert MINIO.setup("minio", store()) is None


@pytest.mark.parametrize(
    ("keys", "why"),
    [
        ({"admin": "me"}, "S3's access key 'me' is too short"),
        ({"buckets": [{"name": "minio"}]}, "MinIO keeps the bucket's name 'minio' for itself"),
        ({"buckets": [{"name": "videos", "owner": "a"}]}, "S3's access key 'a' is too short"),
    ],
)
def test_keys_that_it_refuses_are_refused_before(keys: dict[str, object], why: str) -> None:
    [(found, _)] = MINIO.check(store(**keys))
    assert found.startswith(why)


@pytest.mark.parametrize(
    ("name", "value", "why"),
    [
        ("minio", "short", "the password has fewer than 8 characters"),
        ("minio", " long enough", "the password begins or ends with a space"),
        ("encryption-key", "k" * 41, "a key is 42 letters and digits, and this is not"),
        ("encryption-key", "k" * 41 + "=", "a key is 42 letters and digits, and this is not"),
    ],
)
def test_secrets_that_it_refuses_are_refused_before(name: str, value: str, why: str) -> None:
    assert [found for found, _ in MINIO.check_secret(name, value)] == [why]
    assert MINIO.check_secret("encryption-key", "k" * 42) == []
    assert MINIO.check_secret("minio", EVIL) == []


def test_it_has_no_queue_and_spaces_need_buckets() -> None:
    assert MINIO.check_queue(store())
    assert MINIO.check_managed(store())
    assert MINIO.check_managed(store(buckets=VIDEOS)) == []


# --- a real server --------------------------------------------------------------------------------


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Containers]:
    with Containers(tmp_path) as containers:
        yield containers


def may_enter(here: Containers, client: str, user: str, password: str) -> bool:
    """Whether the server takes this key. If so, it is an alias of `mc`'s then."""
    key = f"{user}\n{password}\n".encode()
    command = ("mc", "alias", "set", user, "http://minio:9000")
    return here.execute(client, *command, given=key).returncode == 0


@pytest.mark.docker
@pytest.mark.load  # compiles its stand-in the first time, which takes minutes
def test_a_real_server_has_buckets_keys_and_copies(here: Containers) -> None:
    said = store(image=stand_in(MINIO.image), buckets=VIDEOS, encryption=True)
    workload = MINIO.workload("minio", said)
    values = {
        "password.minio": EVIL,
        "password.nfc": "the first " + EVIL,
        "password.stranger": "another's secret",
        "password.encryption-key": "0aZ" * 14,
    }
    # A new volume belongs to root, as the official image's folder does.
    volume = f"{here.name}-minio-data"
    prepared = MINIO.prepare("minio", said)
    assert prepared is not None
    assert here.run("minio-volume", prepared, values) == (0, "")
    assert here.docker("volume", "ls", "-q", "--filter", f"name={volume}") == volume
    name = here.start("minio", workload, values)
    here.wait_healthy(name, workload)
    assert here.run("minio-volume", prepared, values) == (0, "")

    # Twice; the second time with another key.
    for word in ("the first ", "the second "):
        values["password.nfc"] = word + EVIL
        code, told = here.run("minio-setup", setup(said), values)
        assert code == 0, told
        assert EVIL not in told
    # Beside the server: what a client needs of memory is not the server's.
    client = here.start("client", setup(said).model_copy(update=WAITING), values)
    assert not may_enter(here, client, "nfc", "the first " + EVIL)
    assert may_enter(here, client, "nfc", "the second " + EVIL)
    assert may_enter(here, client, "stranger", "another's secret")
    own, stranger = "nfc", "stranger"

    def mc(*arguments: str, given: bytes = b"") -> str:
        done = here.execute(client, "mc", "--quiet", *arguments, given=given)
        return (done.stdout + done.stderr).decode()

    for text in (b"one", b"two"):
        here.execute(client, "sh", "-c", "cat >/tmp/a.txt", given=text)
        mc("cp", "/tmp/a.txt", f"{own}/videos/a.txt")
    assert "Encryption: SSE" in mc("stat", f"{own}/videos/a.txt")
    assert mc("cat", f"{own}/videos/a.txt") == "two"
    assert mc("ls", "--versions", f"{own}/videos").count("a.txt") == 2
    # Nobody reads another's, makes buckets, or opens his own to everybody.
    for refused in (
        mc("cat", f"{stranger}/videos/a.txt"),
        mc("mb", f"{own}/more"),
        mc("rb", f"{own}/thumbnails"),
        mc("anonymous", "set", "public", f"{own}/videos"),
        mc("ls", f"{own}/others"),
    ):
        assert "Access Denied" in refused or "Insufficient permissions" in refused

    # Nothing that Docker tells shows a secret.
    told = str(json.loads(here.docker("inspect", name))[0]["Config"]) + here.docker("top", name)
    assert "p'a" not in told
    assert "0aZ0aZ" not in told

    # It dies, and has all that it had.
    here.docker("kill", "--signal", "KILL", name)
    here.docker("start", name)
    here.wait_healthy(name, workload)
    assert mc("cat", f"{own}/videos/a.txt") == "two"

    # A copy brings back what is deleted.
    backup = MINIO.backups(said)["videos"]
    assert backup.folder
    environment = {
        key: substitute(text, lambda found: {"host": "minio", "port": "9000"}[found.field])
        for key, text in backup.environment.items()
    }
    environment |= {"BACKUP": "/tmp/copy", "SECRET_KEY": values["password.nfc"]}
    done = here.execute(client, *backup.dump, environment=environment)
    assert done.returncode == 0, done.stderr
    mc("rm", f"{own}/videos/a.txt")
    assert "does not exist" in mc("cat", f"{own}/videos/a.txt")
    done = here.execute(client, *backup.restore, environment=environment)
    assert done.returncode == 0, done.stderr
    assert mc("cat", f"{own}/videos/a.txt") == "two"
