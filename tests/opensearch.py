"""OpenSearch, which is Elasticsearch's line: what can be asked of both is asked of a real server.

It knows neither `flattened` (there: `flat_object`) nor lifecycles in an index' settings, and this
distribution has no users.
"""

import json
import os
import shutil
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

_VERSION = "2.19.0"
_ARTIFACT = f"org.opensearch.distribution.integ-test-zip:opensearch:{_VERSION}:zip"
_NOBODY = 65534


@dataclass(frozen=True)
class OpenSearch:
    """A running server."""

    url: str

    def ask(self, method: str, path: str, body: object = None) -> tuple[int, Any]:
        """The status of the answer, and its JSON."""
        request = urllib.request.Request(
            f"{self.url}/{path}",
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Content-Type": "application/json"},
        )
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)


def _distribution() -> Path:
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "pulumi-tiers"
    archive = cache / f"opensearch-{_VERSION}.zip"
    if not archive.exists():
        maven = shutil.which("mvn")
        if maven is None:
            pytest.skip("no Maven here")
        copy = ("dependency:copy", f"-Dartifact={_ARTIFACT}", f"-DoutputDirectory={cache}")
        done = subprocess.run([maven, "-q", "-B", *copy], capture_output=True, check=False)
        if done.returncode:
            pytest.skip("Maven gets no OpenSearch here")
    return archive


@contextmanager
def opensearch(settings: Mapping[str, str] | None = None) -> Iterator[OpenSearch]:
    """A server of its own on loopback, with these lines in opensearch.yml too."""
    if os.geteuid() or not (java := shutil.which("java")):
        pytest.skip("no Java here, or not root: the server runs as nobody")
    archive = _distribution()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with zipfile.ZipFile(archive) as packed:
            packed.extractall(folder)
        with _running(folder, java, settings or {}) as server:
            yield server


@contextmanager
def _running(folder: Path, java: str, settings: Mapping[str, str]) -> Iterator[OpenSearch]:
    home = folder / f"opensearch-{_VERSION}"
    ports: list[int] = []
    for _ in range(2):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            ports.append(free.getsockname()[1])
    http, transport = ports
    (home / "config" / "opensearch.yml").write_text(
        f"discovery.type: single-node\nnetwork.host: 127.0.0.1\n"
        f"http.port: {http}\ntransport.port: {transport}\n"
        + "".join(f"{key}: {value}\n" for key, value in settings.items())
    )
    for path in (folder, *folder.rglob("*")):
        os.chown(path, _NOBODY, _NOBODY)
    variables = {
        **os.environ,
        "HOME": str(home),
        "OPENSEARCH_JAVA_HOME": str(Path(java).resolve().parent.parent),
        "OPENSEARCH_JAVA_OPTS": "-Xms512m -Xmx512m",
    }
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            ["bash", str(home / "bin" / "opensearch")],
            cwd=home,
            env=variables,
            stdout=log,
            stderr=log,
            user=_NOBODY,
            group=_NOBODY,
            extra_groups=[],
        )
    try:
        server = OpenSearch(f"http://127.0.0.1:{http}")
        deadline = time.monotonic() + 90
        while True:
            try:
                if server.ask("GET", "_cluster/health?wait_for_status=yellow")[0] == 200:
                    break
            except OSError:
                pass
            said = (folder / "log").read_text()[-2000:]
            assert process.poll() is None, said
            assert time.monotonic() < deadline, said
            time.sleep(0.5)
        yield server
    finally:
        process.terminate()
        process.wait(30)
