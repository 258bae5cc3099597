"""`tiers credential` and `tiers doctor` for clusters, against the double of DigitalOcean's API."""

import json
import shutil
import socket
import threading
from collections.abc import Iterator, Sequence
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
import requests
import yaml
from digitalocean import Double
from pulumi_tiers.cli.engine import Engine
from test_cli import tiers

POOL = {"name": "default", "size": "s-2vcpu-4gb", "count": 1}


@pytest.fixture
def double(monkeypatch: pytest.MonkeyPatch) -> Iterator[Double]:
    monkeypatch.delenv("DIGITALOCEAN_ACCESS_TOKEN", raising=False)
    with Double() as made:
        for name, value in made.environment.items():
            monkeypatch.setenv(name, value)
        yield made


def made_cluster(double: Double) -> str:
    """The id of a new cluster."""
    body = {"name": "c", "region": "nyc1", "version": "latest", "node_pools": [POOL]}
    answer = requests.post(
        f"{double.url}/v2/kubernetes/clusters",
        json=body,
        headers={"Authorization": f"Bearer {double.token}"},
        timeout=10,
    )
    answer.raise_for_status()
    return str(answer.json()["kubernetes_cluster"]["id"])


def test_a_token_is_printed_as_kubectl_wants_it(double: Double) -> None:
    said = json.loads(tiers("credential", made_cluster(double)).stdout)
    assert said["apiVersion"] == "client.authentication.k8s.io/v1beta1"
    assert said["kind"] == "ExecCredential"
    assert set(said["status"]) == {"token", "expirationTimestamp"}
    assert all(said["status"].values())


def test_the_other_variable_is_read_too(double: Double, monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = made_cluster(double)
    monkeypatch.delenv("DIGITALOCEAN_TOKEN")
    monkeypatch.setenv("DIGITALOCEAN_ACCESS_TOKEN", double.token)
    assert json.loads(tiers("credential", cluster).stdout)["status"]["token"]


def test_what_is_wrong_is_said(double: Double, monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = made_cluster(double)
    assert "the token's account has no cluster 4711" in tiers("credential", "4711", code=2).stderr
    # No path leads out of the cluster's place.
    assert "has no cluster ../../account" in tiers("credential", "../../account", code=2).stderr
    monkeypatch.setattr("pulumi_tiers.cli.digitalocean._PAUSES", (0, 0))
    double.fail(times=2)  # what fails for the moment is asked for again
    assert tiers("credential", cluster).stdout
    double.fail(times=3)
    assert "DigitalOcean answers 500" in tiers("credential", cluster, code=1).stderr
    monkeypatch.setenv("DIGITALOCEAN_TOKEN", "wrong")
    refused = tiers("credential", cluster, code=2)
    assert "DigitalOcean refuses the token in DIGITALOCEAN_TOKEN" in refused.stderr
    assert refused.stdout == ""
    monkeypatch.delenv("DIGITALOCEAN_TOKEN")
    assert "set DIGITALOCEAN_TOKEN" in tiers("credential", cluster, code=3).stderr


def test_an_address_where_nobody_answers_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pulumi_tiers.cli.digitalocean._PAUSES", (0,))
    monkeypatch.setenv("DIGITALOCEAN_TOKEN", "t")
    monkeypatch.setenv("DIGITALOCEAN_API_URL", "http://127.0.0.1:1")
    assert "http://127.0.0.1:1" in tiers("credential", "x", code=1).stderr
    for wrong in ("file:///etc", "http://me:hunter2@127.0.0.1", "http://[::1", "http://h:abc"):
        monkeypatch.setenv("DIGITALOCEAN_API_URL", wrong)
        told = tiers("credential", "x", code=2).stderr
        assert "DIGITALOCEAN_API_URL is not the address of an API" in told
        assert "hunter2" not in told
    monkeypatch.setenv("DIGITALOCEAN_TOKEN", "hun\nter2")
    assert "ter2" not in tiers("credential", "x", code=2).stderr


class _Odd(BaseHTTPRequestHandler):
    """Answers what an API never should; keeps who asked with which token."""

    answer: ClassVar[tuple[int, dict[str, str], bytes]] = (200, {}, b"{}")
    seen: ClassVar[list[str | None]] = []

    def do_GET(self) -> None:
        self.seen.append(self.headers.get("Authorization"))
        code, headers, body = self.answer
        self.send_response(code)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Says nothing."""


def test_odd_answers_are_no_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    with HTTPServer(("127.0.0.1", 0), _Odd) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}"
        # A line break at its end is what `$(cat file)` and CI systems add.
        monkeypatch.setenv("DIGITALOCEAN_TOKEN", "t\n")
        monkeypatch.setenv("DIGITALOCEAN_API_URL", address)
        for body in (b"{}", b'{"token": 5, "expires_at": "x"}', b"[]", b"{", b"[" * 99999):
            _Odd.answer = (200, {}, body)
            assert "DigitalOcean" in tiers("credential", "x", code=1).stderr
        _Odd.seen.clear()
        _Odd.answer = (302, {"Location": f"{address}/elsewhere"}, b"")
        assert "answers 302" in tiers("credential", "x", code=1).stderr
        assert _Odd.seen == ["Bearer t"]
        server.shutdown()
    assert "is empty" in tiers("credential", "", code=2).stderr


# --- doctor ---------------------------------------------------------------------------------------


def findings(stack: str, cwd: Path, code: int) -> dict[str, dict[str, Any]]:
    done = tiers("doctor", "--stack", stack, "--json", cwd=cwd, code=code)
    return {finding["what"]: finding for finding in json.loads(done.stdout)}


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project whose stacks need no engine."""
    (tmp_path / "Pulumi.yaml").write_text("name: own\nruntime: python\n")
    for stack, target in (("cloud", "digitalocean"), ("cluster", "kubernetes")):
        text = yaml.safe_dump({"config": {"tiers:target": target}})
        (tmp_path / f"Pulumi.{stack}.yaml").write_text(text)

    def find(cls: type[Engine], plugins: Sequence[str]) -> tuple[SimpleNamespace, str]:
        del cls
        assert {"kubernetes", "random"} <= set(plugins)
        return SimpleNamespace(version="3.0.0"), ""

    def which(program: str) -> str:
        return f"/usr/bin/{program}"

    monkeypatch.setattr(Engine, "find", classmethod(find))
    monkeypatch.setattr(shutil, "which", which)
    # No daemon is needed.
    monkeypatch.setenv("DOCKER_HOST", "unix:///nonexistent")
    return tmp_path


def test_doctor_asks_whether_the_token_is_taken(
    double: Double, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = findings("cloud", project, code=0)["DigitalOcean token"]
    assert (token["ok"], token["found"]) == (True, "account active")
    monkeypatch.setenv("DIGITALOCEAN_TOKEN", "wrong")
    token = findings("cloud", project, code=3)["DigitalOcean token"]
    assert (token["ok"], token["needed"]) == (False, True)
    assert "refuses the token" in token["found"]


def test_doctor_looks_for_a_cluster_that_answers(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = project / "kubeconfig"
    monkeypatch.setenv("KUBECONFIG", str(path))
    found = findings("cluster", project, code=3)["cluster"]
    assert found["ok"] is False
    assert str(path) in found["found"]
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        address = f"https://127.0.0.1:{server.getsockname()[1]}"
        config = {
            "current-context": "here",
            "contexts": [{"name": "here", "context": {"cluster": "c", "user": "u"}}],
            "clusters": [{"name": "c", "cluster": {"server": address}}],
        }
        path.write_text(yaml.safe_dump(config))
        # The provider would ask for a name, and nobody would hear it.
        asks = findings("cluster", project, code=3)["cluster"]
        assert "it has no user 'u'" in asks["found"]
        path.write_text(yaml.safe_dump({**config, "users": [{"name": "u", "user": {}}]}))
        dead = findings("cluster", project, code=3)["cluster"]
        assert f"{address} does not answer" in dead["found"]
        server.listen()
        alive = findings("cluster", project, code=0)["cluster"]
        assert (alive["ok"], alive["found"]) == (True, f"{address} (context here)")
