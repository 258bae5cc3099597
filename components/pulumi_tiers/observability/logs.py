"""Logs: Filebeat reads, Logstash takes apart, Elasticsearch keeps, Kibana shows them.

The document has Elasticsearch 8.8.0 and says that there are the other two (Vision, L27-31, L136,
L319); what ships the logs is ours (VI-11). docs/logs.md tells what of this was never run here.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import yaml

from pulumi_tiers.model.errors import Mistake, nearest
from pulumi_tiers.model.observability import Logs, Observability
from pulumi_tiers.model.store import Index, Store
from pulumi_tiers.model.system import System, Target
from pulumi_tiers.model.workload import (
    CONFIGS,
    Condition,
    Healthcheck,
    Port,
    Resources,
    Volume,
    Workload,
)
from pulumi_tiers.observability.prometheus import published

INDEX = "logs"
"""The index; each day's has the date behind it. So is called who reads and writes it."""
_REGISTRY = "docker.elastic.co"
_IMAGES = {
    "logstash": f"{_REGISTRY}/logstash/logstash",
    "kibana": f"{_REGISTRY}/kibana/kibana",
    "filebeat": f"{_REGISTRY}/beats/filebeat",
}
_BEATS_PORT, _LOGSTASH_API, _KIBANA_PORT, _FILEBEAT_API = 5044, 9600, 5601, 5066
_DOCKER_LOGS = "/var/lib/docker/containers"
_POD_LOGS = "/var/log/pods"

FIELDS = {
    "@timestamp": "date",
    "message": "text",
    "stream": "keyword",
    "service": "keyword",
    "stack": "keyword",
    "container": "keyword",
    "level": "keyword",
    # What a program wrote as JSON. Every key can be searched, and none becomes a field of its own:
    # of those there may be a thousand, and a key must mean the same kind of thing everywhere.
    "json": "flattened",
}
"""What an entry has, with Elasticsearch's types."""


def log_stores(system: System, observability: Observability) -> dict[str, Store]:
    """The store that the logs need: the system's of this name with their index, or a new one."""
    logs = observability.logs
    if logs is None:
        return {}
    ours = Index(name=INDEX, owner=INDEX, retention=logs.retention_days, fields=FIELDS)
    store = system.stores.get(logs.store)
    if store is None:
        store = Store(
            engine="elasticsearch",
            image=f"{_REGISTRY}/elasticsearch/elasticsearch:{logs.version}",
            # Documented (L134-141), as is the heap of half of it.
            resources=Resources(cpus=1.0, memory="2g"),
            size=logs.size,
        )
    others = [item for item in store.indices if item.name != ours.name]
    return {logs.store: store.model_copy(update={"indices": [*others, ours]})}


def log_workloads(
    system: System, observability: Observability, target: Target
) -> dict[str, Workload]:
    """Logstash, Kibana and Filebeat, by their host names. They refer to the logs' store."""
    logs = observability.logs
    if logs is None:
        return {}
    found = {"logstash": _logstash(system, logs, target), "kibana": _kibana(system, logs, target)}
    if logs.collect:
        found["filebeat"] = _filebeat(system, logs, target)
    return found


def _image(logs: Logs, name: str) -> object:
    return logs.images.get(name) or f"{_IMAGES[name]}:{logs.version}"


def _inner(system: System) -> list[str]:
    """The networks without a way out, where there are any: nobody talks to them from outside."""
    return [name for name, network in system.networks.items() if network.internal]


# --- Logstash -------------------------------------------------------------------------------------

#: The image's own writes files for its log and is not read.
_LOG4J = """status = error
appender.console.type = Console
appender.console.name = console
appender.console.layout.type = PatternLayout
appender.console.layout.pattern = [%d{ISO8601}][%-5p][%-25c] %m%n
rootLogger.level = info
rootLogger.appenderRef.console.ref = console
"""

#: What Filebeat knows of a container comes from the daemon's own file, or from the file's path.
_WHOSE = {
    True: """  # Docker writes labels of the container into each line.
  if [docker][attrs][tiers.system] != "%(system)s" { drop {} }
  mutate {
    copy => {
      "[docker][attrs][tiers.service]" => "service"
      "[docker][attrs][tiers.stack]" => "stack"
    }
  }
  dissect { mapping => { "[log][file][path]" => "%(folder)s/%%{container}/%%{}" } }
""",
    False: """  dissect {
    mapping => { "[log][file][path]" => "%(folder)s/%%{}_%%{container}_%%{}/%%{service}/%%{}" }
  }
""",
}

#: The first word for one near the beginning of a line.
_LEVEL = r"(?i)^.{0,80}?\b(?<level>debug|info|warn(ing)?|error|fatal|critical)\b"

_PIPELINE = """input {
  beats { port => %(port)d }
}
filter {
%(whose)s  # What they say of a line that they can't send would come back to them, again and again.
  if [service] in ["filebeat", "logstash"] { drop {} }
  # Filebeat leaves the end of a line that Docker wrote.
  mutate { gsub => ["message", "\\r?\\n\\z", ""] }
  if [message] =~ /^\\s*\\{/ {
    json { source => "message" target => "json" skip_on_invalid_json => true }
    mutate { copy => { "[json][level]" => "level" } }
  }
  if ![level] {
    grok {
      match => { "message" => "%(level)s" }
      tag_on_failure => []
    }
  }
  mutate { lowercase => ["level"] }
  prune {
    whitelist_names => [%(fields)s]
  }
}
output {
  elasticsearch {
    hosts => ["${ELASTICSEARCH}"]
    user => "${LOGS_USER}"
    password => "${LOGS_PASSWORD}"
    index => "%(index)s-%%{+YYYY.MM.dd}"
    # A line that comes twice is one entry.
    document_id => "%%{[@metadata][_id]}"
    # They are the store's, made before.
    data_stream => false
    manage_template => false
    ilm_enabled => false
  }
}
"""


def pipeline(system: System, target: Target) -> str:
    """What Logstash does with a line, in its own language."""
    docker = target is Target.DOCKER
    values = {
        "system": system.name,
        "folder": _DOCKER_LOGS if docker else _POD_LOGS,
        "index": INDEX,
        "port": _BEATS_PORT,
        "level": _LEVEL,
        "fields": ", ".join(f'"^{name}$"' for name in FIELDS),
    }
    return _PIPELINE % {**values, "whose": _WHOSE[docker] % values}


def _logstash(system: System, logs: Logs, target: Target) -> Workload:
    settings = {
        "api.http.host": "0.0.0.0",  # noqa: S104 - Kubernetes asks for its health there
        "api.http.port": _LOGSTASH_API,
        "pipeline.ecs_compatibility": "v8",
        # Else it looks for another Elasticsearch, without a password.
        "xpack.monitoring.enabled": False,
    }
    user = f"${{{logs.store}.{INDEX}.user}}"
    password = f"${{{logs.store}.{INDEX}.password}}"
    return Workload(
        image=_image(logs, "logstash"),
        # The image's own entrypoint writes settings into its root.
        entrypoint=["/usr/share/logstash/bin/logstash"],
        command=["--path.settings", CONFIGS, "--path.config", f"{CONFIGS}/pipeline.conf"],
        configs={
            "logstash.yml": _yaml(settings),
            "log4j2.properties": _LOG4J,
            "pipeline.conf": pipeline(system, target),
        },
        environment={
            "LS_JAVA_OPTS": "-Xms512m -Xmx512m",
            "ELASTICSEARCH": f"http://${{{logs.store}.host}}:${{{logs.store}.port}}",
            "LOGS_USER": user,
        },
        secrets={"LOGS_PASSWORD": password},
        ports=[Port(target=_BEATS_PORT, scheme="tcp"), Port(target=_LOGSTASH_API)],
        tmpfs={
            # JRuby puts a library there and loads it.
            "/tmp": "exec",  # noqa: S108
            "/usr/share/logstash/data": "uid=1000,gid=0,mode=0770",
        },
        healthcheck=_asked(_LOGSTASH_API, "/"),
        depends_on={logs.store: Condition.SERVICE_HEALTHY},
        networks=_inner(system),
        resources=Resources(cpus=1.0, memory="1g"),
        stop_grace_period="60s",
        user="1000:0",
        unverified=True,
    )


# --- Kibana ---------------------------------------------------------------------------------------


def _kibana(system: System, logs: Logs, target: Target) -> Workload:
    port = published(system, target, logs.published, _KIBANA_PORT)
    # https://www.elastic.co/guide/en/kibana/8.8/settings.html: Kibana itself puts variables in. The
    # image's own entrypoint would write them, passwords too, on Kibana's command line.
    settings: dict[str, Any] = {
        "server.host": "0.0.0.0",  # noqa: S104 - in its container
        "elasticsearch.hosts": ["${ELASTICSEARCH}"],
        "elasticsearch.username": "${KIBANA_USER}",
        "elasticsearch.password": "${KIBANA_PASSWORD}",
        "xpack.security.encryptionKey": "${KIBANA_SESSIONS_KEY}",
        "xpack.encryptedSavedObjects.encryptionKey": "${KIBANA_OBJECTS_KEY}",
        "xpack.reporting.encryptionKey": "${KIBANA_REPORTS_KEY}",
        # It asks nobody on the internet for anything.
        "telemetry.optIn": False,
        "telemetry.allowChangingOptInStatus": False,
        "newsfeed.enabled": False,
        "map.includeElasticMapsService": False,
    }
    keys = ("KIBANA_SESSIONS_KEY", "KIBANA_OBJECTS_KEY", "KIBANA_REPORTS_KEY")
    return Workload(
        image=_image(logs, "kibana"),
        entrypoint=["/usr/share/kibana/bin/kibana"],
        command=["--config", f"{CONFIGS}/kibana.yml"],
        configs={"kibana.yml": _yaml(settings)},
        environment={
            "ELASTICSEARCH": f"http://${{{logs.store}.host}}:${{{logs.store}.port}}",
            "KIBANA_USER": f"${{{logs.store}.kibana.user}}",
            "NODE_OPTIONS": "--max-old-space-size=700",
        },
        secrets={
            "KIBANA_PASSWORD": f"${{{logs.store}.kibana.password}}",
            # Generated ones have 32 characters, the least that it takes.
            **{key: f"${{secret.{key}}}" for key in keys},
        },
        ports=[Port(target=_KIBANA_PORT, published=port)],
        tmpfs={
            "/tmp": "",  # noqa: S108
            # It keeps all that matters in Elasticsearch.
            "/usr/share/kibana/data": "uid=1000,gid=0,mode=0770",
        },
        healthcheck=_asked(_KIBANA_PORT, "/login"),
        depends_on={logs.store: Condition.SERVICE_HEALTHY},
        resources=Resources(cpus=1.0, memory="1g"),
        stop_grace_period="30s",
        user="1000:0",
        unverified=True,
    )


# --- Filebeat -------------------------------------------------------------------------------------


def _filebeat(system: System, logs: Logs, target: Target) -> Workload:
    docker = target is Target.DOCKER
    folder = _DOCKER_LOGS if docker else _POD_LOGS
    return Workload(
        image=_image(logs, "filebeat"),
        entrypoint=["filebeat"],
        command=["-e", "--strict.perms=false", "-c", f"{CONFIGS}/filebeat.yml"],
        configs={"filebeat.yml": _yaml(shipping(system, target))},
        ports=[Port(target=_FILEBEAT_API)],
        # How far it has read. Without it, it reads what is there again: the entries are the same.
        volumes=[
            Volume(
                name="filebeat-data",
                target="/usr/share/filebeat/data",
                size="1Gi",
                scratch=not docker,
            )
        ],
        binds={folder: folder},
        tmpfs={"/tmp": ""},  # noqa: S108
        healthcheck=_asked(_FILEBEAT_API, "/"),
        depends_on={"logstash": Condition.SERVICE_HEALTHY},
        networks=_inner(system),
        resources=Resources(cpus=0.25, memory="200m"),
        # The files are root's, and nobody else's. Without a capability it is root of nothing else.
        user="0:0",
        per_node=True,
        unverified=True,
    )


def shipping(system: System, target: Target) -> dict[str, Any]:
    """Filebeat's settings."""
    if target is Target.DOCKER:
        files, host = f"{_DOCKER_LOGS}/*/*-json.log", "logstash"
    else:
        # Its own namespace is another one.
        namespace = system.namespace or f"{system.name}-{system.environment}"
        files, host = f"{_POD_LOGS}/{namespace}_*/*/*.log", f"logstash.{namespace}"
    return {
        "filebeat.inputs": [
            {
                "type": "filestream",
                "id": "containers",
                "paths": [files],
                "parsers": [{"container": {"stream": "all"}}],
                # What is older was sent, or is not wanted any more.
                "ignore_older": "48h",
                "clean_inactive": "72h",
            }
        ],
        "processors": [
            {
                "fingerprint": {
                    "fields": ["@timestamp", "log.file.path", "log.offset"],
                    "target_field": "@metadata._id",
                    "ignore_missing": True,
                }
            }
        ],
        "output.logstash": {"hosts": [f"{host}:{_BEATS_PORT}"]},
        "http": {"enabled": True, "host": "0.0.0.0", "port": _FILEBEAT_API},  # noqa: S104
        # Its numbers are asked for there; every 30 seconds in its log they are too many.
        "logging.metrics.enabled": False,
    }


def _asked(port: int, path: str) -> Healthcheck:
    return Healthcheck(
        test=["CMD", "curl", "-fsS", "-o", "/dev/null", f"http://127.0.0.1:{port}{path}"],
        interval="10s",
        timeout="5s",
        retries=6,
        # Java and Kibana take their time, above all with half a CPU.
        start_period="180s",
        path=path,
        port=port,
    )


def _yaml(content: Mapping[str, Any]) -> str:
    return yaml.safe_dump(dict(content), sort_keys=False)


# --- checks ---------------------------------------------------------------------------------------


def check_logs(place: str, system: System, observability: Observability) -> Iterator[Mistake]:
    """What is wrong with the logs' store and images. `place` is put before the keys."""
    logs = observability.logs
    if logs is None:
        return
    at = f"{place}logs"
    store = system.stores.get(logs.store)
    if store and store.engine != "elasticsearch":
        why = f"'{logs.store}' is no Elasticsearch, but {store.engine}"
        yield Mistake(f"{at}.store", why, "name another; where there is none, it is made")
    for name in logs.images:
        if name not in _IMAGES:
            why = f"there is no '{name}' among what the logs run"
            yield Mistake(f"{at}.images.{name}", why, nearest(name, _IMAGES))
