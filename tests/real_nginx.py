"""A real nginx for tests, run on loopback as it runs in its container: by `start.sh`."""

import contextlib
import http.client
import json
import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from containers import stand_in
from pulumi_tiers.model.edge import Edge
from pulumi_tiers.nginx import Address, Facts, Ports, addresses_file, configuration, start_script

BINARY = "TIERS_TEST_NGINX"
"""Names another nginx than the one on PATH."""


def binary() -> str | None:
    """The program; None where there is none on this machine."""
    return os.environ.get(BINARY) or shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")


_STAND_IN = "nginx:1.30-alpine"
_IN_IMAGE = "/usr/sbin/nginx"


def free_ports(count: int) -> list[int]:
    probes = [socket.socket() for _ in range(count)]
    try:
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]
    finally:
        for probe in probes:
            probe.close()


# --- what stands behind it ------------------------------------------------------------------------


class Backend(ThreadingHTTPServer):
    """Answers with what it was asked, and remembers it. Every one has an address of its own."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, address: str, port: int = 0) -> None:
        super().__init__((address, port), _Handler)
        self.address, self.port = address, self.server_address[1]
        self.requests: list[dict[str, Any]] = []
        self.connections: set[socket.socket] = set()
        self.answers: dict[str, str] = {}
        self.wait = 0.0
        #: Breaks off instead of an answer.
        self.broken = False
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()

    def process_request(self, request: Any, client_address: Any) -> None:
        self.connections.add(request)
        super().process_request(request, client_address)

    def die(self) -> None:
        """As a killed process: nothing listens, and open connections are reset."""
        self.shutdown()
        self.server_close()
        for connection in list(self.connections):
            with contextlib.suppress(OSError):
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # An answer is sent as a whole: nobody could ask another replica for the rest of one.
    wbufsize = 1 << 16

    def _answer(self) -> None:
        server = self.server
        assert isinstance(server, Backend)
        body = b""
        if "Content-Length" in self.headers:
            body = self.rfile.read(int(self.headers["Content-Length"]))
        elif self.headers.get("Transfer-Encoding") == "chunked":
            while size := int(self.rfile.readline(), 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        if self.headers.get("Upgrade") == "websocket":
            self._echo()
            return
        asked = {
            "method": self.command,
            "path": self.path,
            "headers": {name.lower(): value for name, value in self.headers.items()},
            "length": len(body),
            "peer": self.client_address[1],
            "by": server.address,
        }
        server.requests.append(asked)
        time.sleep(server.wait)
        if server.broken:
            self.close_connection = True
            return
        text = json.dumps(
            {**asked, "padding": "x" * 4000} if "pad" in self.path else asked
        ).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(text)))
        for name, value in {"Content-Type": "application/json", **server.answers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(b"" if self.command == "HEAD" else text)

    do_GET = do_HEAD = do_POST = do_PUT = do_OPTIONS = do_DELETE = _answer  # noqa: N815

    def _echo(self) -> None:
        self.send_response(101)
        self.send_header("Upgrade", "websocket")
        self.send_header("Connection", "Upgrade")
        self.end_headers()
        self.wfile.flush()
        while data := self.connection.recv(1000):
            self.connection.sendall(data)
        self.close_connection = True

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        pass


# --- nginx itself ---------------------------------------------------------------------------------


@dataclass
class Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def asked(self) -> dict[str, Any]:
        """What the backend was asked."""
        return json.loads(self.body)


@dataclass
class Nginx:
    """One that runs, its files in a folder of the test's."""

    folder: Path
    program: str
    ports: Ports
    facts: Facts
    trust: Path | None = None
    environment: dict[str, str] = field(default_factory=dict)
    #: The stand-in's, where there is no nginx on this machine.
    image: str = ""
    process: "subprocess.Popen[bytes] | None" = None

    @classmethod
    def make(cls, folder: Path, *, proxy_protocol: bool = False) -> "Nginx":
        program, image = binary(), ""
        if program is None:
            program, image = _IN_IMAGE, stand_in(_STAND_IN)
        # Others than root may use it: nginx's workers are nobody where its master is root.
        for part in ("configs", "secrets", "run", "hosts"):
            (folder / part).mkdir(parents=True)
        ports = Ports(*free_ports(3))
        facts = Facts(proxy_protocol, ports.https, ports)
        return cls(folder, program, ports, facts, image=image)

    def configure(
        self,
        edge: Edge,
        backends: Mapping[str, Sequence[str]],
        port: int = 0,
        files: Mapping[str, str] | None = None,
    ) -> None:
        """`backends`: the addresses of each upstream, all of which listen on one port."""
        addresses = {name: Address(f"{name}.test", port) for name in edge.upstreams}
        for name, found in backends.items():
            self.resolve(name, found)
        for file, text in (files or {}).items():
            self.put(f"secrets/{file}", text)
        self.put("configs/upstreams", addresses_file(addresses))
        self.put("configs/nginx.conf", configuration(edge, self.facts))

    def put(self, file: str, text: str) -> None:
        """As a platform does it: at once."""
        path = self.folder / file
        new = path.with_name(f"{path.name}.new")
        new.write_text(text, encoding="utf-8")
        new.replace(path)

    def resolve(self, name: str, addresses: Sequence[str]) -> None:
        """What the name has from now on."""
        self.put(f"hosts/{name}.test", "".join(f"{item} STREAM x\n" for item in addresses))

    def start(self) -> None:
        tools = self.folder / "tools"
        tools.mkdir(exist_ok=True)
        script = tools / "start.sh"
        script.write_text(start_script(), encoding="utf-8")
        # Names that no name server of this machine knows.
        getent = tools / "getent"
        getent.write_text(f'#!/bin/sh\ncat "{self.folder}/hosts/$2"\n', encoding="utf-8")
        getent.chmod(0o755)
        link = tools / "nginx"
        link.unlink(missing_ok=True)
        link.symlink_to(self.program)
        environment = {
            "PATH": f"{tools}:{os.environ['PATH']}",
            "EDGE_CONFIGS": str(self.folder / "configs"),
            "EDGE_SECRETS": str(self.folder / "secrets"),
            "EDGE_RUN": str(self.folder / "run"),
            "EDGE_STATUS_PORT": str(self.ports.status),
            "EDGE_INTERVAL": "0.2",
            **self.environment,
        }
        command = self._in_container(environment) if self.image else ["sh"]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [*command, str(script)],
                env={**os.environ, **environment},
                stdout=log,
                stderr=log,
                # A shell that runs the tests in the background has switched it off.
                preexec_fn=lambda: signal.signal(signal.SIGQUIT, signal.SIG_DFL),
            )
        self.wait_for(self.healthy, "nginx answers")

    def _in_container(self, environment: Mapping[str, str]) -> list[str]:
        """The same with the stand-in's programs: its network is this machine's."""
        variables = [f"--env={name}={value}" for name, value in environment.items()]
        folder = f"--volume={self.folder}:{self.folder}"
        options = ("--rm", "--init", "--network=host", "--user=0:0", "--entrypoint=sh", folder)
        return ["docker", "run", f"--name={self.folder.name}", *options, *variables, self.image]

    def healthy(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, self.log
        try:
            return self.get("/healthz", port=self.ports.status).status == 200
        except OSError:
            return False

    @property
    def version(self) -> tuple[int, ...]:
        run = ["docker", "run", "--rm", "--entrypoint", self.program, self.image]
        command = [*(run if self.image else [self.program]), "-v"]
        said = subprocess.run(command, capture_output=True, text=True, check=True)
        found = re.search(r"nginx/(\d+)\.(\d+)\.(\d+)", said.stderr)
        assert found is not None, said.stderr
        return tuple(int(part) for part in found.groups())

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text(encoding="utf-8", errors="replace")

    @property
    def access(self) -> list[dict[str, Any]]:
        """The access log."""
        return [json.loads(line) for line in self.log.splitlines() if line.startswith("{")]

    def wait_for_log(self, pattern: str, seconds: float = 10) -> None:
        self.wait_for(lambda: re.search(pattern, self.log) is not None, pattern, seconds)

    def wait_for(self, what: Any, called: str, seconds: float = 10) -> None:
        deadline = time.monotonic() + seconds
        while not what():
            assert time.monotonic() < deadline, f"not in {seconds} s: {called}\n{self.log}"
            time.sleep(0.05)

    def stop(self, how: signal.Signals = signal.SIGTERM) -> int:
        """Its exit code."""
        if self.process is None:
            return 0
        self.process.send_signal(how)
        try:
            return self.process.wait(10)
        finally:
            self.process.kill()
            self.process = None
            if self.image:
                left = ["docker", "rm", "--force", self.folder.name]
                subprocess.run(left, capture_output=True, check=False)

    def connection(
        self, *, tls: bool = False, port: int = 0, source: str = "127.0.0.1"
    ) -> http.client.HTTPConnection:
        port = port or (self.ports.https if tls else self.ports.http)
        if not tls:
            own = (source, 0)
            return http.client.HTTPConnection("127.0.0.1", port, timeout=10, source_address=own)
        context = ssl.create_default_context(cafile=str(self.trust) if self.trust else None)
        context.check_hostname = self.trust is not None
        context.verify_mode = ssl.CERT_REQUIRED if self.trust else ssl.CERT_NONE
        return http.client.HTTPSConnection("127.0.0.1", port, timeout=10, context=context)

    def get(
        self,
        path: str = "/",
        headers: Mapping[str, str] | None = None,
        *,
        method: str = "GET",
        body: bytes | None = None,
        tls: bool = False,
        port: int = 0,
        source: str = "127.0.0.1",
    ) -> Answer:
        """`source`: the client's address."""
        connection = self.connection(tls=tls, port=port, source=source)
        try:
            connection.request(method, path, body, dict(headers or {}))
            response = connection.getresponse()
            names = {name.lower() for name, _ in response.getheaders()}
            # Those that stand there several times, with commas.
            found = {name: response.getheader(name, "") for name in names}
            return Answer(response.status, found, response.read())
        finally:
            connection.close()


@contextlib.contextmanager
def running(made: Nginx) -> Iterator[Nginx]:
    made.start()
    try:
        yield made
    finally:
        made.stop()
