"""A Kubernetes for tests: the real control plane, and nodes that only say that they run pods.

It is built once from Kubernetes' own Go modules (`tests/cluster/`), and then up in seconds, on
loopback, without root. `TIERS_TEST_KUBECONFIG` offers another one instead.
"""

import fcntl
import hashlib
import json
import os
import re
import secrets
import shutil
import signal
import socket
import ssl
import subprocess
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

OFFERED = "TIERS_TEST_KUBECONFIG"
_SOURCE = Path(__file__).with_name("cluster")
_SOURCES = ("go.mod", "go.sum", "main.go")
_VERSION = "1.36.3"
_GO = (1, 26)
_BUILD_SECONDS = 3600
_START_SECONDS = 90
#: Nobody's: RFC 5737.
ADDRESSES = "203.0.113."


class NoClusterError(Exception):
    """There is none, and this is why."""


def why_no_cluster() -> str:
    """Why there can't be a cluster here; empty if there can. Builds nothing."""
    if path := os.environ.get(OFFERED):
        if not Path(path).is_file():
            return f"{OFFERED}: no file {path}"
        return "" if shutil.which("kubectl") else "no kubectl on PATH"
    if _program().is_file():
        return ""
    try:
        said = subprocess.run(["go", "version"], capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return f"no Go on PATH to build Kubernetes with, and no {OFFERED}"
    version = re.search(r"go(\d+)\.(\d+)", said)
    if not version or (int(version[1]), int(version[2])) < _GO:
        return f"Kubernetes {_VERSION} needs Go {_GO[0]}.{_GO[1]}; this is {said.split()[2]}"
    return ""


# --- building -------------------------------------------------------------------------------------


def _program() -> Path:
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    sources = b"".join((_SOURCE / name).read_bytes() for name in _SOURCES)
    digest = hashlib.sha256(sources).hexdigest()[:8]
    return cache / "pulumi-tiers" / f"cluster-{_VERSION}-{digest}" / "cluster"


def build(say: Callable[[str], None]) -> Path:
    """The folder with the cluster's program; built if this is the first time."""
    program = _program()
    if program.is_file():
        return program.parent
    cache = program.parent.parent
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / "cluster.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("another run builds Kubernetes: waiting for it")
            fcntl.flock(lock, fcntl.LOCK_EX)
        if not program.is_file():
            for left in cache.glob("cluster-*.new"):  # of a build that was killed
                shutil.rmtree(left)
            new = cache / f"{program.parent.name}.{os.getpid()}.new"
            new.mkdir()
            for name in _SOURCES:
                shutil.copy(_SOURCE / name, new)
            try:
                say(f"building Kubernetes {_VERSION} into {program.parent}, once: 6 to 13 minutes")
                _build(new, say)
                _take_stages(new)
                new.rename(program.parent)
            finally:
                shutil.rmtree(new, ignore_errors=True)
    return program.parent


def _build(folder: Path, say: Callable[[str], None]) -> None:
    stamp = "k8s.io/component-base/version.git"
    major, minor, _ = _VERSION.split(".")
    flags = f"-s -w -X {stamp}Version=v{_VERSION} -X {stamp}Major={major} -X {stamp}Minor={minor}"
    command = ["nice", "go", "build", "-v", "-mod=mod", "-trimpath", "-ldflags", flags]
    process = subprocess.Popen(
        [*command, "-o", "cluster", "."],
        cwd=folder,
        env={**os.environ, "CGO_ENABLED": "0"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,  # with its compilers, to end them all
    )
    overdue = threading.Timer(_BUILD_SECONDS, os.killpg, (process.pid, signal.SIGKILL))
    overdue.daemon = True
    overdue.start()
    started = told = time.monotonic()
    lines: list[str] = []
    try:
        assert process.stderr is not None
        for line in process.stderr:  # one per downloaded module and compiled package
            lines.append(line.strip())
            if time.monotonic() - told > 30:
                told = time.monotonic()
                say(f"  {told - started:.0f} s: {len(lines)} steps of about 2800")
        if process.wait():
            last = lines[-1] if lines else "no word why"
            raise NoClusterError(f"Kubernetes could not be built: {last}")
    finally:
        overdue.cancel()
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    say(f"  built in {time.monotonic() - started:.0f} s")


def _take_stages(folder: Path) -> None:
    """What simulated nodes, pods and volumes go through stands in files of kwok's module."""
    command = ["go", "list", "-mod=mod", "-m", "-f", "{{.Dir}}", "sigs.k8s.io/kwok"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    stages = Path(done.stdout.strip()) / "kustomize" / "stage"
    texts: list[str] = []
    for part in ("node/fast", "node/heartbeat-with-lease", "pod/fast", "volume/fast"):
        for path in sorted((stages / part).glob("*.yaml")):
            text = path.read_text(encoding="utf-8")
            if "kind: Stage\n" in text:
                texts.append(text)
    (folder / "stages.yaml").write_text("\n---\n".join(texts), encoding="utf-8")


def definitions(module: str, checksum: str, *paths: str) -> str:
    """Files of a Go module, such as the custom resources that a project publishes, as one text.

    `module` with its version; `checksum` as go.sum has it. Raises NoClusterError.
    """
    with tempfile.TemporaryDirectory() as folder:  # no module of ours
        done = subprocess.run(
            ["go", "mod", "download", "-json", module],
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
    if done.returncode:
        raise NoClusterError(f"no {module}: {(done.stdout + done.stderr).strip()[-300:]}")
    found = json.loads(done.stdout)
    if found["Sum"] != checksum:
        raise NoClusterError(f"{module} has the checksum {found['Sum']}")
    return "\n---\n".join((Path(found["Dir"]) / path).read_text(encoding="utf-8") for path in paths)


# --- what is applied to a new cluster -------------------------------------------------------------

_NODE = """\
apiVersion: v1
kind: Node
metadata:
  name: node-{number}
  annotations: {{kwok.x-k8s.io/node: fake}}
  labels: {{kubernetes.io/hostname: node-{number}}}
status:
  allocatable: {{cpu: "16", memory: 64Gi, pods: "110"}}
  capacity: {{cpu: "16", memory: 64Gi, pods: "110"}}
"""
#: Beside them. The taint is DigitalOcean's, and NVIDIA's operator's.
_GPU_NODE = {
    "apiVersion": "v1",
    "kind": "Node",
    "metadata": {"name": "gpu-0", "annotations": {"kwok.x-k8s.io/node": "fake"}},
    "spec": {"taints": [{"key": "nvidia.com/gpu", "effect": "NoSchedule"}]},
    "status": {
        where: {"cpu": "16", "memory": "64Gi", "pods": "110", "nvidia.com/gpu": "2"}
        for where in ("allocatable", "capacity")
    },
}
_STORAGE = """\
apiVersion: storage.k8s.io/v1
kind: StorageClass
metadata:
  name: kwok-volume
  annotations: {storageclass.kubernetes.io/is-default-class: "true"}
provisioner: kwok.x-k8s.io/volume
"""
#: What a cloud's controller does. The last number is the one of the address inside the cluster.
_BALANCER = f"""\
apiVersion: kwok.x-k8s.io/v1alpha1
kind: Stage
metadata: {{name: service-address}}
spec:
  resourceRef: {{apiGroup: v1, kind: Service}}
  selector:
    matchExpressions:
    - cel: {{expression: "self.spec.type == 'LoadBalancer'"}}
    - cel: {{expression: "!has(self.status.loadBalancer.ingress)"}}
  steps:
  - patch:
      root: status
      subresource: status
      template: |
        loadBalancer:
          ingress:
          - ip: {ADDRESSES}{{{{ .spec.clusterIP | splitList "." | last }}}}
"""


@dataclass
class Cluster:
    """A running cluster. Everything that waits has a limit."""

    kubeconfig: Path
    folder: Path
    #: The folder of the built program; None: the cluster was offered, and `kubectl` is on PATH.
    built: Path | None = None
    _processes: dict[str, "subprocess.Popen[bytes]"] = field(default_factory=dict)
    #: The servers hold one end, we the other: it closes when we die, and they with it.
    _lifeline: tuple[int, int] = (-1, -1)

    @classmethod
    def get(cls, folder: Path, say: Callable[[str], None]) -> Self:
        """The offered cluster, otherwise a new one that works in the folder."""
        if path := os.environ.get(OFFERED):
            return cls(Path(path).resolve(), folder)
        made = cls(folder / "kubeconfig", folder, build(say), _lifeline=os.pipe())
        try:
            made._start()
        except BaseException:
            made.stop()
            raise
        return made

    @property
    def ours(self) -> bool:
        """Whether all of it is ours, not only the namespaces that tests make."""
        return self.built is not None

    # --- using it ---------------------------------------------------------------------------------

    def run(self, *arguments: str, stdin: str | None = None) -> "subprocess.CompletedProcess[str]":
        """Kubectl, however it ends."""
        return subprocess.run(
            [*self._kubectl, *arguments],
            executable=self._executable,
            env=self._environment,
            input=stdin,
            stdin=None if stdin is not None else subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    @property
    def _kubectl(self) -> tuple[str, ...]:
        return "kubectl", "--kubeconfig", str(self.kubeconfig)

    @property
    def _executable(self) -> Path | None:
        return self.built / "cluster" if self.built else None

    @property
    def _environment(self) -> dict[str, str]:
        # Discovery is cached by address, and another cluster may have had this one before.
        return {**os.environ, "KUBECACHEDIR": str(self.folder / "kube-cache")}

    def kubectl(self, *arguments: str, stdin: str | None = None) -> str:
        """What kubectl prints; it must succeed."""
        done = self.run(*arguments, stdin=stdin)
        assert done.returncode == 0, f"kubectl {' '.join(arguments)}: {done.stderr}"
        return done.stdout

    def get_json(self, *arguments: str) -> Any:
        return json.loads(self.kubectl("get", *arguments, "--output", "json"))

    def names(self, kind: str, namespace: str) -> list[str]:
        found = self.kubectl("get", kind, "--namespace", namespace, "--output", "name")
        return sorted(name.partition("/")[2] for name in found.split())

    def has_namespace(self, name: str) -> bool:
        return bool(self.kubectl("get", "namespace", name, "--ignore-not-found"))

    @contextmanager
    def namespace(self, labels: Mapping[str, str] | None = None) -> Iterator[str]:
        """A namespace of a test's own."""
        name = new_namespace()
        metadata = {"name": name, "labels": dict(labels or {})}
        namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}
        self.kubectl("create", "--filename", "-", stdin=json.dumps(namespace))
        try:
            yield name
        finally:
            self.remove_namespace(name, wait=False)

    def remove_namespace(self, name: str, *, wait: bool = True) -> None:
        arguments = ("--ignore-not-found", f"--wait={str(wait).lower()}", "--timeout=90s")
        self.kubectl("delete", "namespace", name, *arguments)

    @contextmanager
    def watching(self, *arguments: str) -> Iterator[Path]:
        """What `kubectl get --watch` writes meanwhile, in a file; complete when this ends."""
        path = self.folder / "watched"
        with path.open("wb") as file:
            process = subprocess.Popen(
                [*self._kubectl, "get", *arguments, "--watch"],
                executable=self._executable,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=file,
            )
            try:
                deadline = time.monotonic() + 20
                while not path.stat().st_size and time.monotonic() < deadline:
                    time.sleep(0.05)
                yield path
                time.sleep(1)
            finally:
                process.kill()
                process.wait()

    @contextmanager
    def gpus(self) -> Iterator[None]:
        """A node with two GPUs, meanwhile."""
        self.kubectl("apply", "--filename", "-", stdin=json.dumps(_GPU_NODE))
        try:
            yield
        finally:
            self.kubectl("delete", "node", "gpu-0")

    @property
    def on_path(self) -> dict[str, str]:
        """Variables with which a program finds `kubectl`, and that finds this cluster."""
        found = {**self._environment, "KUBECONFIG": str(self.kubeconfig)}
        if self._executable:
            link = self.folder / "bin" / "kubectl"
            if not link.is_symlink():
                link.parent.mkdir(exist_ok=True)
                link.symlink_to(self._executable)
            found["PATH"] = f"{link.parent}{os.pathsep}{found['PATH']}"
        return found

    @contextmanager
    def without_addresses(self) -> Iterator[None]:
        """Services of type LoadBalancer get no address meanwhile."""
        self._kill("load-balancer")
        try:
            yield
        finally:
            self._start_balancer()

    # --- starting and stopping --------------------------------------------------------------------

    def _start(self) -> None:
        self._call("new-keys", str(self.folder))
        token = secrets.token_hex(16)
        (self.folder / "tokens").write_text(f"{token},admin,admin,system:masters\n")
        etcd, peer, port = (str(number) for number in _free_ports(3))
        server = f"https://127.0.0.1:{port}"
        self._write_kubeconfig(server, token)
        self._serve(
            "etcd",
            f"--data-dir={self.folder}/etcd",
            f"--listen-client-urls=http://127.0.0.1:{etcd}",
            f"--advertise-client-urls=http://127.0.0.1:{etcd}",
            f"--listen-peer-urls=http://127.0.0.1:{peer}",
            f"--initial-advertise-peer-urls=http://127.0.0.1:{peer}",
            f"--initial-cluster=default=http://127.0.0.1:{peer}",
            "--unsafe-no-fsync",
            "--log-level=warn",
        )
        self._serve(
            "kube-apiserver",
            f"--etcd-servers=http://127.0.0.1:{etcd}",
            "--bind-address=127.0.0.1",
            f"--secure-port={port}",
            # The Service "kubernetes" would lead to loopback, which is refused: it leads nowhere.
            "--endpoint-reconciler-type=none",
            "--service-cluster-ip-range=10.96.0.0/24",
            f"--tls-cert-file={self.folder}/server.crt",
            f"--tls-private-key-file={self.folder}/server.key",
            f"--token-auth-file={self.folder}/tokens",
            "--authorization-mode=RBAC",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-key-file={self.folder}/accounts.key",
            f"--service-account-signing-key-file={self.folder}/accounts.key",
            # As in real clusters: what is refused is refused by Pod Security.
            "--allow-privileged=true",
        )
        self._wait_for_api(server, token)
        connection = f"--kubeconfig={self.kubeconfig}"
        self._serve(
            "kube-controller-manager",
            connection,
            "--secure-port=0",
            "--leader-elect=false",
            "--use-service-account-credentials=true",  # its controllers have roles of their own
            f"--service-account-private-key-file={self.folder}/accounts.key",
            f"--root-ca-file={self.folder}/server.crt",
            "--kube-api-qps=1000",
            "--kube-api-burst=1000",
        )
        self._serve("kube-scheduler", connection, "--secure-port=0", "--leader-elect=false")
        assert self.built is not None
        nodes = ("--manage-all-nodes=true", "--node-lease-duration-seconds=40")
        self._serve("kwok", connection, f"--config={self.built}/stages.yaml", *nodes)
        self._start_balancer()
        objects = [_STORAGE, *(_NODE.format(number=number) for number in range(3))]
        self.kubectl("apply", "--filename", "-", stdin="---\n".join(objects))
        patience = f"--timeout={_START_SECONDS}s"
        self.kubectl("wait", "node", "--all", "--for=condition=Ready", patience)
        self.kubectl("wait", "serviceaccount/default", "--for=create", patience)

    def _start_balancer(self) -> None:
        config = self.folder / "load-balancer.yaml"
        config.write_text(_BALANCER, encoding="utf-8")
        # It wants to manage nodes, or ends.
        arguments = (f"--config={config}", "--manage-single-node=none")
        self._serve("kwok", f"--kubeconfig={self.kubeconfig}", *arguments, called="load-balancer")

    def _write_kubeconfig(self, server: str, token: str) -> None:
        cluster = {"server": server, "certificate-authority": str(self.folder / "server.crt")}
        content = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "tests", "cluster": cluster}],
            "users": [{"name": "admin", "user": {"token": token}}],
            "contexts": [{"name": "tests", "context": {"cluster": "tests", "user": "admin"}}],
            "current-context": "tests",
        }
        self.kubeconfig.write_text(json.dumps(content), encoding="utf-8")  # YAML, too

    def _call(self, name: str, *arguments: str) -> None:
        subprocess.run([name, *arguments], executable=self._executable, check=True)

    def _serve(self, name: str, *arguments: str, called: str = "") -> None:
        with (self.folder / f"{called or name}.log").open("ab") as log:
            self._processes[called or name] = subprocess.Popen(
                [name, *arguments],
                executable=self._executable,
                cwd=self.folder,
                stdin=self._lifeline[0],
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C is for the tests, which then stop us
            )

    def _wait_for_api(self, server: str, token: str) -> None:
        trust = ssl.create_default_context(cafile=str(self.folder / "server.crt"))
        headers = {"Authorization": f"Bearer {token}"}
        request = urllib.request.Request(f"{server}/readyz", headers=headers)
        deadline = time.monotonic() + _START_SECONDS
        while True:
            try:
                with urllib.request.urlopen(request, timeout=5, context=trust):
                    return
            except OSError as error:
                self._check_alive()
                if time.monotonic() > deadline:
                    raise RuntimeError(f"no API server: {error}") from None
            time.sleep(0.1)

    def _check_alive(self) -> None:
        for name, process in self._processes.items():
            if process.poll() is not None:
                log = (self.folder / f"{name}.log").read_text(encoding="utf-8", errors="replace")
                raise RuntimeError(f"{name} ended: {log[-2000:]}")

    def _kill(self, name: str) -> None:
        process = self._processes.pop(name)
        process.kill()
        process.wait()

    def stop(self) -> None:
        """Ends our own processes. Nothing has to be saved."""
        for name in reversed(list(self._processes)):
            self._kill(name)
        for end in self._lifeline:
            if end >= 0:
                os.close(end)
        self._lifeline = (-1, -1)
        shutil.rmtree(self.folder / "etcd", ignore_errors=True)


def new_namespace() -> str:
    """A name that nobody else has."""
    return f"tiers-test-{secrets.token_hex(4)}"


def _free_ports(count: int) -> list[int]:
    probes = [socket.socket() for _ in range(count)]
    try:
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]
    finally:
        for probe in probes:
            probe.close()
