"""An ACME server for tests: Let's Encrypt's own, Pebble, built once from its Go module."""

import base64
import fcntl
import hashlib
import json
import os
import re
import shutil
import socket
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

from pulumi_tiers.cli.certificates import Wanted, made

_SOURCE = Path(__file__).with_name("pebble")
_PROGRAMS = ("pebble", "pebble-challtestsrv")
_MODULE = "github.com/letsencrypt/pebble/v2/cmd"
_GO = (1, 26)
_BUILD_SECONDS = 600


def _folder() -> Path:
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    sources = b"".join((_SOURCE / name).read_bytes() for name in ("go.mod", "go.sum"))
    return cache / "pulumi-tiers" / f"pebble-{hashlib.sha256(sources).hexdigest()[:8]}"


def _go() -> str | None:
    return shutil.which("go", path=f"{os.environ['PATH']}:/usr/local/go/bin")


def why_no_acme() -> str:
    """Why there can't be one here; empty if there can. Builds nothing."""
    if all((_folder() / name).is_file() for name in _PROGRAMS):
        return ""
    go = _go()
    if go is None:
        return "no Go to build Pebble with"
    said = subprocess.run([go, "version"], capture_output=True, text=True, check=False).stdout
    version = re.search(r"go(\d+)\.(\d+)", said)
    if not version or (int(version[1]), int(version[2])) < _GO:
        return f"Pebble needs Go {_GO[0]}.{_GO[1]}"
    return ""


def build() -> Path:
    """The folder with the programs; built if this is the first time: about half a minute."""
    folder, go = _folder(), _go()
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if all((folder / name).is_file() for name in _PROGRAMS):
            return folder
        assert go is not None
        for name in ("go.mod", "go.sum"):
            shutil.copy(_SOURCE / name, folder)
        new = folder / "new"
        packages = [f"{_MODULE}/{name}" for name in _PROGRAMS]
        subprocess.run(
            ["nice", go, "build", "-o", f"{new}/", *packages],
            cwd=folder,
            env={**os.environ, "CGO_ENABLED": "0", "GOFLAGS": "-mod=readonly"},
            timeout=_BUILD_SECONDS,
            check=True,
        )
        for name in _PROGRAMS:
            (new / name).rename(folder / name)
    return folder


@dataclass
class Acme:
    """Pebble on one address of this machine. Every host name is at `host`, its HTTP on `port`.

    Its certificates are valid for `days`.
    """

    folder: Path
    address: str
    host: str
    port: int
    days: int = 90
    _processes: "list[subprocess.Popen[bytes]]" = field(default_factory=list)

    @property
    def directory(self) -> str:
        return f"https://{self.address}:14000/dir"

    def certificate(self) -> str:
        """The one of its own address, in PEM; it signs for itself."""
        file = self.folder / "acme.crt"
        if not file.is_file():
            wanted = Wanted("crt", "key", ("localhost",), (self.address,), 24, 0)
            for name, text in made([wanted], {}).items():
                (self.folder / f"acme.{name}").write_bytes(base64.b64decode(text))
        return file.read_text()

    def __enter__(self) -> "Acme":
        programs = build()
        self.certificate()
        # Not where containers can reach it.
        dns = f"127.0.0.1:{_free_port()}"
        config = {
            "listenAddress": f"{self.address}:14000",
            "managementListenAddress": "127.0.0.1:0",
            "certificate": str(self.folder / "acme.crt"),
            "privateKey": str(self.folder / "acme.key"),
            "httpPort": self.port,
            "tlsPort": 1,
            "profiles": {"default": {"description": "-", "validityPeriod": self.days * 86400}},
        }
        (self.folder / "acme.json").write_text(json.dumps({"pebble": config}))
        off = ("-http01", "", "-https01", "", "-doh", "", "-tlsalpn01", "", "-defaultIPv6", "")
        names = ("-dnsserver", dns, "-management", "127.0.0.1:0", "-defaultIPv4", self.host)
        self._serve(str(programs / "pebble-challtestsrv"), *names, *off)
        config_file = str(self.folder / "acme.json")
        self._serve(str(programs / "pebble"), "-config", config_file, "-dnsserver", dns)
        deadline = time.monotonic() + 20
        while True:
            try:
                socket.create_connection((self.address, 14000), 1).close()
            except OSError:
                assert time.monotonic() < deadline, self.log
                time.sleep(0.1)
            else:
                return self

    def _serve(self, *command: str) -> None:
        environment = {**os.environ, "PEBBLE_VA_NOSLEEP": "1", "PEBBLE_WFE_NONCEREJECT": "0"}
        with (self.folder / "acme.log").open("ab") as log:
            process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        self._processes.append(process)

    @property
    def log(self) -> str:
        return (self.folder / "acme.log").read_text()

    def __exit__(self, *_: object) -> None:
        for process in self._processes:
            process.kill()
            process.wait()


def _free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
