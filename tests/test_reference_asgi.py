"""The reference workload as uvicorn serves it."""

import contextlib
import http.client
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest
from sandbox import ROOT

REQUEST = b"GET /docs HTTP/1.1\r\nHost: reference\r\n\r\n"


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """Where it listens."""
    folder = tmp_path_factory.mktemp("uvicorn")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        found = int(probe.getsockname()[1])
    log = folder / "log"
    environment = {
        **os.environ,
        "PYTHONPATH": f"{ROOT}:{ROOT / 'reference'}",
        "PROMETHEUS_MULTIPROC_DIR": str(folder / "metrics"),
    }
    command = [sys.executable, "-m", "uvicorn", "src.app:app", "--port", str(found)]
    with log.open("wb") as file:
        server = subprocess.Popen(command, cwd=folder, env=environment, stdout=file, stderr=file)
    try:
        deadline = time.monotonic() + 30
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", found), 1):
                break
            assert server.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.1)
        yield found
        assert "Traceback" not in log.read_text()
    finally:
        server.kill()
        server.wait()


def answer(connection: socket.socket) -> tuple[int, bytes]:
    """Reads no byte of the next one."""
    received = http.client.HTTPResponse(connection)
    received.begin()
    return received.status, received.read()


def test_a_request_that_comes_before_the_last_answer_is_over_is_answered(port: int) -> None:
    """As nginx sends them on the connections that it keeps, when the server is slow."""
    with socket.create_connection(("127.0.0.1", port), 10) as connection:
        connection.sendall(REQUEST * 2)
        received = b""
        while received.count(b"</html>") < 2:
            part = connection.recv(65536)
            assert part, received
            received += part
        assert received.count(b"HTTP/1.1 200 OK") == 2


def test_many_requests_on_one_connection_are_answered(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port), 10) as connection:
        for _ in range(200):
            connection.sendall(REQUEST)
            status, page = answer(connection)
            assert (status, page[-7:]) == (200, b"</html>")
