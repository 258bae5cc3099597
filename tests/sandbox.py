"""A copy of this repository's program with a stack of its own, for tests on real Docker."""

import fcntl
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import yaml

ROOT = Path(__file__).resolve().parent.parent
TIERS = Path(sys.executable).with_name("tiers")
APP = "encontros-tech/encontros-tech"


@dataclass
class Sandbox:
    """Runs `tiers` and `pulumi` on its copy; knows where the application listens."""

    root: Path
    stack: str
    config: dict[str, Any] = field(default_factory=dict)
    #: Held as long as its ports are its own.
    claim: IO[str] | None = None

    @classmethod
    def make(cls, root: Path) -> "Sandbox":
        root.mkdir()
        for name in ("Pulumi.yaml", "__main__.py"):
            shutil.copy(ROOT / name, root / name)
        for name in ("offline", "reference"):
            (root / name).symlink_to(ROOT / name)
        offset, claim = _free_offset()
        made = cls(root, f"t{secrets.token_hex(3)}", claim=claim)
        made.configure(**{"tiers:port_offset": offset})
        return made

    def configure(self, **config: Any) -> None:
        """Adds to the stack's configuration; None removes a key."""
        self.config = {k: v for k, v in {**self.config, **config}.items() if v is not None}
        path = self.root / f"Pulumi.{self.stack}.yaml"
        path.write_text(yaml.safe_dump({"config": self.config}), encoding="utf-8")

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{8000 + self.config['tiers:port_offset']}"

    def tiers(
        self, *arguments: str, code: int | None = 0, env: dict[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Runs `tiers`; asserts its exit code, and that no traceback reaches anybody."""
        done = subprocess.run(
            [TIERS, *arguments],
            cwd=self.root,
            env={**os.environ, "TIERS_STACK": self.stack, **(env or {})},
            capture_output=True,
            text=True,
            timeout=400,
            check=False,
        )
        said = done.stdout + done.stderr
        assert code is None or done.returncode == code, said
        assert "Traceback" not in said, said
        return done

    def start(self, *arguments: str) -> "subprocess.Popen[str]":
        """Starts `tiers` in a process group of its own, as a terminal does."""
        return subprocess.Popen(
            [TIERS, *arguments],
            cwd=self.root,
            env={**os.environ, "TIERS_STACK": self.stack},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
            # Whoever runs the tests in the background may have switched Ctrl-C off.
            preexec_fn=_listen_to_ctrl_c,
        )

    def status(self, code: int = 0) -> dict[str, dict[str, Any]]:
        """Live status by ``system/service``."""
        rows = json.loads(self.tiers("status", "--json", code=code).stdout)
        return {f"{row['system']}/{row['service']}": row for row in rows}

    def ids(self) -> set[str]:
        """Ids of the stack's containers."""
        return set(self.docker("ps", "-aq", "--no-trunc", "--filter", self._label).split())

    def left(self) -> dict[str, list[str]]:
        """Everything of the stack that Docker still has."""
        return {
            "containers": self.docker("ps", "-aq", "--filter", self._label).split(),
            "networks": self.docker("network", "ls", "-q", "--filter", self._label).split(),
            "volumes": self.docker("volume", "ls", "-q", "--filter", f"name={self.stack}-").split(),
        }

    @property
    def _label(self) -> str:
        return f"label=tiers.stack={self.stack}"

    def docker(self, *arguments: str) -> str:
        done = subprocess.run(["docker", *arguments], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def inspect(self, service: str) -> dict[str, Any]:
        name = self.status()[f"encontros-tech/{service}"]["container"]
        found: list[dict[str, Any]] = json.loads(self.docker("inspect", name))
        return found[0]

    # --- the application --------------------------------------------------------------------------

    def write(self, title: str) -> None:
        body = json.dumps({"title": title}).encode()
        request = urllib.request.Request(
            f"{self.url}/events", data=body, headers={"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=10) as answer:
            assert answer.status == 201

    def titles(self, limit: int = 100) -> list[str]:
        with urllib.request.urlopen(f"{self.url}/events?limit={limit}", timeout=10) as answer:
            return [event["title"] for event in json.load(answer)]

    def health(self) -> tuple[int, dict[str, Any]]:
        """Status code and answer of ``/health``; 0 where nobody answers."""
        try:
            with urllib.request.urlopen(f"{self.url}/health", timeout=10) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)
        except OSError:
            return 0, {}

    def wait_healthy(self, seconds: float = 60) -> None:
        deadline = time.monotonic() + seconds
        while self.health()[0] != 200:
            assert time.monotonic() < deadline, self.health()
            time.sleep(0.3)

    def remove(self) -> None:
        """Whatever a failed test has left."""
        left = self.left()
        for kind, command in (("containers", "rm"), ("networks", "network"), ("volumes", "volume")):
            if left[kind]:
                verb = ["rm", "--force"] if command == "rm" else [command, "rm"]
                subprocess.run(["docker", *verb, *left[kind]], capture_output=True, check=False)


#: What the systems publish, and the second replica of an application.
_PORTS = (80, 443, 1433, 5000, 5001, 5002, 5432, 5672, 6379, 8000, 8001, 8080, 9000, 15672, 27017)


#: No two of them, or of the two after each, leave the same rest: sandboxes whose offsets are
#: multiples of it never meet.
_STEP = 136


def _free_offset() -> tuple[int, IO[str]]:
    """An offset at which the documented ports are free, and the file that keeps others off it."""
    while True:
        # Below those that the kernel gives to connections.
        offset = _STEP * (60 + secrets.randbelow(110))
        path = Path(tempfile.gettempdir()) / f"pulumi-tiers-ports-{offset}"
        claim = path.open("a")
        try:
            fcntl.flock(claim, fcntl.LOCK_EX | fcntl.LOCK_NB)
            for port in _PORTS:
                with socket.socket() as probe:
                    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                    probe.bind(("127.0.0.1", port + offset))
        except OSError:
            claim.close()
            continue
        return offset, claim


def _listen_to_ctrl_c() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)
