"""Exporters: what asks a server for its numbers and tells them as Prometheus reads them.

Where the store is `monitored`, each connects as the user who may read numbers, and nothing else.

An engine without an exporter is watched by its own metrics, if its workload has such, or not at
all. One more exporter is one function, and one line of `EXPORTERS`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from pulumi_tiers.engines import ENGINES
from pulumi_tiers.limits import is_managed
from pulumi_tiers.model.edge import Edge
from pulumi_tiers.model.observability import Observability
from pulumi_tiers.model.store import MONITORING, Store
from pulumi_tiers.model.system import System, Target
from pulumi_tiers.model.tls import TlsMode
from pulumi_tiers.model.workload import (
    CONFIGS,
    SECRET_FILES,
    Condition,
    Healthcheck,
    Metrics,
    Port,
    Resources,
    Workload,
)
from pulumi_tiers.nginx.workloads import edge_workloads
from pulumi_tiers.observability.metrics import programs

NODE = "node-exporter"
BLACKBOX = "blackbox-exporter"
STATUS = 8081
"""Where an edge tells its own numbers."""
#: Nobody, in every image: exporters write nothing.
_USER = "65534:65534"
_LITTLE = Resources(cpus=0.1, memory="32m")
_HOST = "/host"
#: Nothing of a machine's own: what the kernel shows of itself, and containers' file systems.
_NOT_MOUNTS = "^/(dev|proc|run|sys|var/lib/(docker|containers|containerd|kubelet)/.+)($|/)"
_FILE_SYSTEMS = "--collector.filesystem."
_EXCLUDED = (
    "fs-types-exclude=^(autofs|binfmt_misc|bpf|cgroup2?|configfs|debugfs|devpts|devtmpfs|fusectl"
    "|hugetlbfs|mqueue|nsfs|proc|pstore|rpc_pipefs|securityfs|selinuxfs|squashfs|sysfs|tmpfs"
    "|tracefs)$"
)


@dataclass(frozen=True)
class Exporter:
    """One kind of exporter."""

    image: str
    port: int
    #: Its arguments for one store, of whose connection it is given the key, and whether it is one
    #: with TLS: environment, secrets, files, command.
    arguments: Callable[[str, bool], dict[str, Any]] | None = None
    #: Where it is healthy by itself, whatever its server does.
    health: str = "/"
    #: Without one, Docker can't ask; Kubernetes needs none.
    shell: bool = True
    resources: Resources = _LITTLE


def _postgres(name: str, tls: bool) -> dict[str, Any]:
    mode = "require" if tls else "disable"
    at = f"${{{name}.host}}:${{{name}.port}}/${{{name}.database}}?sslmode={mode}"
    return {
        "environment": {
            "DATA_SOURCE_URI": at,
            "DATA_SOURCE_USER": f"${{{name}.user}}",
            "DATA_SOURCE_PASS_FILE": f"{SECRET_FILES}/password",
        },
        "secret_files": {"password": f"${{{name}.password}}"},
    }


def _redis(name: str, tls: bool) -> dict[str, Any]:
    scheme = "rediss" if tls else "redis"
    return {
        "environment": {
            "REDIS_ADDR": f"{scheme}://${{{name}.host}}:${{{name}.port}}",
            "REDIS_USER": f"${{{name}.user}}",
        },
        "secrets": {"REDIS_PASSWORD": f"${{{name}.password}}"},
    }


def _mongo(name: str, tls: bool) -> dict[str, Any]:
    del tls  # the URL says it
    return {
        # Each of several members would be asked by an exporter of its own.
        "command": ["--collector.diagnosticdata", "--no-mongodb.direct-connect"],
        "secrets": {"MONGODB_URI": f"${{{name}.url}}"},
    }


def _mssql(name: str, tls: bool) -> dict[str, Any]:
    del tls
    return {
        "environment": {
            "SERVER": f"${{{name}.host}}",
            "PORT": f"${{{name}.port}}",
            "USERNAME": f"${{{name}.user}}",
            # With the certificate that the server has made for itself.
            "ENCRYPT": "true",
            "TRUST_SERVER_CERTIFICATE": "true",
        },
        "secrets": {"PASSWORD": f"${{{name}.password}}"},
    }


def _elasticsearch(name: str, tls: bool) -> dict[str, Any]:
    scheme = "https" if tls else "http"
    return {
        "command": [f"--es.uri={scheme}://{name.partition('.')[0]}:9200", "--es.timeout=10s"],
        "environment": {"ES_USERNAME": f"${{{name}.user}}"},
        "secrets": {"ES_PASSWORD": f"${{{name}.password}}"},
    }


EXPORTERS: dict[str, Exporter] = {
    "postgres": Exporter("quay.io/prometheuscommunity/postgres-exporter:v0.17.1", 9187, _postgres),
    "redis": Exporter("oliver006/redis_exporter:v1.74.0-alpine", 9121, _redis),
    "mongo": Exporter("percona/mongodb_exporter:0.47.0", 9216, _mongo, shell=False),
    "mssql": Exporter(
        "awaragi/prometheus-mssql-exporter:v1.3.0",
        4000,
        _mssql,
        # Node.
        resources=Resources(cpus=0.1, memory="96m"),
    ),
    "elasticsearch": Exporter(
        "quay.io/prometheuscommunity/elasticsearch-exporter:v1.9.0", 9114, _elasticsearch
    ),
    "nginx": Exporter("nginx/nginx-prometheus-exporter:1.4.2", 9113, shell=False),
    "node": Exporter("quay.io/prometheus/node-exporter:v1.9.1", 9100),
    "blackbox": Exporter("prom/blackbox-exporter:v0.27.0", 9115, health="/-/healthy"),
}
"""By engine, and what asks others than stores. RabbitMQ and MinIO tell their numbers themselves."""


def exporter_name(name: str) -> str:
    """The host name of a store's, or an edge's, exporter."""
    return f"{name}-exporter"


def job_name(workload: str) -> str:
    """The label `job` of what a workload exports: an exporter speaks for what it asks."""
    return workload.removesuffix("-exporter") or workload


def health(port: int, path: str, *, shell: bool = True) -> Healthcheck:
    """With busybox' wget: these images have no other."""
    wget = ["CMD", "wget", "-q", "-O", "/dev/null", f"http://127.0.0.1:{port}{path}"]
    return Healthcheck(
        test=wget if shell else ["NONE"],
        interval="5s",
        timeout="5s",
        retries=12,
        path=path,
    )


def monitored(stores: Mapping[str, Store]) -> dict[str, Store]:
    """The stores, with a user for the exporter where they have one and can have the other."""
    return {
        name: store.model_copy(update={"monitoring": True})
        if store.engine in EXPORTERS and "monitoring" in ENGINES[store.engine].takes
        else store
        for name, store in stores.items()
    }


def exporters(system: System, observability: Observability, target: Target) -> dict[str, Workload]:
    """The system's exporters, by host name."""
    found: dict[str, Workload] = {}
    for name, store in system.stores.items():
        if store.engine in EXPORTERS:
            found[exporter_name(name)] = _of_store(name, store, observability, target)
    for name, edge in system.edges.items():
        found[exporter_name(name)] = _workload(
            "nginx",
            name,
            observability,
            networks=edge.networks,
            # As a variable: older ones begin their flags with one hyphen. They retry on request.
            environment={
                "SCRAPE_URI": f"http://{_status_host(name, target)}:{STATUS}/nginx_status",
                "NGINX_RETRIES": "60",
            },
        )
    if observability.node:
        found[NODE] = _node(observability, target)
    if probes(system, target):
        found[BLACKBOX] = _workload(
            "blackbox",
            "blackbox",
            observability,
            configs={"blackbox.yml": yaml.safe_dump(_modules(system), sort_keys=False)},
            command=[f"--config.file={CONFIGS}/blackbox.yml"],
        )
    return found


def _workload(kind: str, job: str, observability: Observability, **arguments: Any) -> Workload:
    exporter = EXPORTERS[kind]
    given: dict[str, Any] = {
        "image": observability.images.get(kind, exporter.image),
        "ports": [Port(target=exporter.port)],
        "metrics": Metrics(interval=observability.intervals.get(job)),
        "healthcheck": health(exporter.port, exporter.health, shell=exporter.shell),
        "user": _USER,
        "resources": exporter.resources,
        "unverified": True,
    }
    return Workload(**{**given, **arguments})


def _of_store(name: str, store: Store, observability: Observability, target: Target) -> Workload:
    arguments, engine = EXPORTERS[store.engine].arguments, ENGINES[store.engine]
    assert arguments is not None
    managed = is_managed(store, target)
    known = engine.consumers(engine.as_managed(store) if managed else store)
    connection = f"{name}.{MONITORING}" if MONITORING in known and store.monitoring else name
    return _workload(
        store.engine,
        name,
        observability,
        networks=store.networks,
        depends_on={name: Condition.SERVICE_HEALTHY},
        **arguments(connection, managed),
    )


def _status_host(edge: str, target: Target) -> str:
    # The Service of a load balancer has its public ports only: `Platform.peers` makes another.
    return edge if target is Target.DOCKER else f"{edge}-peers"


def _node(observability: Observability, target: Target) -> Workload:
    """One per machine. On Docker it needs nothing of it: the kernel shows CPUs, memory and disks to
    every container, and the container's own root is on the disk that all data of Docker are on.
    """
    if target is Target.DOCKER:
        # A bind of "/" would also hold what is mounted for other containers.
        arguments: dict[str, Any] = {
            "command": [f"{_FILE_SYSTEMS}mount-points-exclude=^/.+", f"{_FILE_SYSTEMS}{_EXCLUDED}"]
        }
    else:
        arguments = {
            "command": [
                f"--path.rootfs={_HOST}",
                f"--path.procfs={_HOST}/proc",
                f"--path.sysfs={_HOST}/sys",
                f"{_FILE_SYSTEMS}mount-points-exclude={_NOT_MOUNTS}",
                f"{_FILE_SYSTEMS}{_EXCLUDED[:-2]}|overlay)$",
            ],
            "binds": {_HOST: "/"},
        }
    return _workload("node", "node", observability, per_node=True, **arguments)


# --- probes ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Probe:
    """A question that the blackbox exporter asks."""

    job: str
    #: One of its modules.
    module: str
    #: Whose answer it is.
    service: str
    target: str


HEALTH_JOB = "probe/health"
CERTIFICATE_JOB = "probe/certificate"
_HTTP = "http"


def probes(system: System, target: Target) -> list[Probe]:
    """Health checks over HTTP, and the edges' certificates."""
    found: list[Probe] = []
    for name, workload in programs(system).items():
        check = workload.healthcheck
        listening = [port.target for port in workload.ports]
        if check is None or check.path is None or workload.job or not listening:
            continue
        port = check.port or listening[0]
        if port in listening:
            at = f"http://{name}:{port}{check.path}"
            found.append(Probe(HEALTH_JOB, _HTTP, name, at))
    for name, edge in system.edges.items():
        if port := _tls_port(name, edge, target):
            at = f"{name}:{port}"
            found.append(Probe(CERTIFICATE_JOB, _certificate_module(name), name, at))
    return found


def _tls_port(name: str, edge: Edge, target: Target) -> int | None:
    """Where an edge shows its certificate inside of the site."""
    if not edge.tls.on or edge.tls.mode is TlsMode.DIGITALOCEAN:
        return None
    workload = edge_workloads(name, edge, target)[name]
    if workload.load_balancer.proxy_protocol:
        return None  # it expects what only the load balancer tells
    for port in workload.ports:
        if port.scheme == "https":
            # A Service has the load balancer's ports.
            return port.target if target is Target.DOCKER else port.load_balancer or port.target
    return None


def _certificate_module(edge: str) -> str:
    return f"certificate-{edge}"


def _modules(system: System) -> dict[str, Any]:
    """blackbox.yml. Who signed a certificate is the clients' question; here, its dates count."""
    modules: dict[str, Any] = {
        _HTTP: {
            "prober": "http",
            "timeout": "5s",
            "http": {"preferred_ip_protocol": "ip4", "follow_redirects": False},
        }
    }
    for name, edge in system.edges.items():
        tls: dict[str, Any] = {"insecure_skip_verify": True}
        if edge.server_names:
            tls["server_name"] = edge.server_names[0].replace("*", "any")
        modules[_certificate_module(name)] = {
            "prober": "tcp",
            "timeout": "5s",
            "tcp": {"preferred_ip_protocol": "ip4", "tls": True, "tls_config": tls},
        }
    return {"modules": modules}
