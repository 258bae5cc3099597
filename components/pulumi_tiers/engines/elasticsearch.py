"""Elasticsearch (https://www.docker.elastic.co/r/elasticsearch): one node, with passwords."""

import json
import re
from collections.abc import Iterator
from itertools import accumulate
from typing import Any, ClassVar

from pulumi_tiers.engines.base import (
    ONE_AT_A_TIME,
    Backup,
    Consumer,
    Engine,
    Reached,
    by_owner,
    check_setup,
    encoded,
    placement,
)
from pulumi_tiers.model.errors import nearest, shown
from pulumi_tiers.model.references import literal
from pulumi_tiers.model.store import MONITORING, Index, Store
from pulumi_tiers.model.workload import (
    CONFIGS,
    SECRET_FILES,
    Condition,
    Healthcheck,
    Port,
    Resources,
    Volume,
    Workload,
)

_HOME = "/usr/share/elasticsearch"
_DATA = f"{_HOME}/data"
_COPIES = f"{_DATA}/copies"
_TMP = "/tmp"  # noqa: S108
#: Every server has these users. Kibana signs in as the second one.
_ADMIN = "elastic"
_KIBANA = "kibana_system"
#: The key of its connection.
_KIBANA_KEY = "kibana"
_RESERVED = frozenset(
    {"apm_system", "beats_system", "kibana", "logstash_system", "remote_monitoring_user"}
)
#: Fields that every document has, by names that no other field takes.
_METADATA = frozenset(
    {"_data_stream_timestamp", "_doc_count", "_feature", "_field_names", "_id", "_ignored"}
    | {"_index", "_nested_path", "_routing", "_seq_no", "_source", "_tier", "_type", "_version"}
)
_SETTING = re.compile(r"[a-z][A-Za-z0-9_]*(\.[A-Za-z0-9_*-]+)*")
#: Settings that this engine decides: clients, the health check and the copies rely on them.
_OURS = re.compile(
    r"(cluster\.name|discovery|http\.port|network|node\.name|path|xpack\.security)(\..*)?"
)

# It writes beside its configuration, and the image's root is read-only. The password is in no
# command line and no variable.
_START = f"""set -eu
umask 077
rm -rf {_TMP}/config
cp -R {_HOME}/config {_TMP}/config
cp {CONFIGS}/elasticsearch.yml {_TMP}/config/
export ES_PATH_CONF={_TMP}/config
cd {_HOME}
rm -f {_TMP}/config/elasticsearch.keystore
bin/elasticsearch-keystore create
bin/elasticsearch-keystore add --stdin bootstrap.password <{SECRET_FILES}/password
exec bin/elasticsearch
"""

# curl's configuration and JSON escape the same two characters.
_CLIENT = r"""set -eu
umask 077
escaped() { printf '%s' "$1" | sed 's/[\\"]/\\&/g'; }
sign_in() { printf 'user = "%s:%s"\n' "$1" "$(escaped "$2")"; }
ask() {
  printf '%s' "${3-}" >/tmp/body
  status="$(curl -sS -K /tmp/who -X "$1" -H 'Content-Type: application/json' \
    --data-binary @/tmp/body -o /tmp/said -w '%{http_code}' "http://$SERVER/$2")"
  case "$status" in
  2*) ;;
  *)
    printf '%s %s: %s\n' "$1" "$2" "$status" >&2
    cat /tmp/said >&2
    return 1
    ;;
  esac
}
"""
_BEGIN = 'sign_in "$ADMIN" "$ADMIN_PASSWORD" >/tmp/who\n'
_HERE = f"""{_CLIENT}SERVER=127.0.0.1:9200
sign_in {_ADMIN} "$(cat {SECRET_FILES}/password)" >/tmp/who
trap 'rm -f /tmp/who' EXIT
"""
_HEALTHY = (
    f"""printf 'user = "{_ADMIN}:%s"\\n' "$(sed 's/[\\\\"]/\\\\&/g' {SECRET_FILES}/password)" |"""
    " curl -fsS -o /dev/null -m 5 -K -"
    " 'http://127.0.0.1:9200/_cluster/health?wait_for_status=yellow&timeout=3s'"
)
_SNAPSHOT = "_snapshot/tiers/copy"

#: https://www.elastic.co/guide/en/elasticsearch/reference/8.8/mapping-types.html, those that need
#: nothing but their name.
_TYPES = frozenset(
    {"binary", "boolean", "byte", "completion", "date", "date_nanos", "date_range", "double"}
    | {"double_range", "flattened", "float", "float_range", "geo_point", "geo_shape"}
    | {"half_float", "integer", "integer_range", "ip", "ip_range", "keyword", "long"}
    | {"long_range", "match_only_text", "nested", "object", "percolator", "point", "rank_feature"}
    | {"rank_features", "search_as_you_type", "shape", "short", "text", "unsigned_long"}
    | {"version", "wildcard"}
)


class Elasticsearch(Engine):
    """The official image as a single node, with users; TLS off in the network of the system."""

    name = "elasticsearch"
    image = "docker.elastic.co/elasticsearch/elasticsearch:8.8.0"
    port = 9200
    admin = _ADMIN
    # The documented ones; half of the memory is Java's heap.
    resources: ClassVar[Resources] = Resources(cpus=1.0, memory="2g")
    least_memory = "1g"
    takes: ClassVar[frozenset[str]] = frozenset({"indices", "monitoring", "settings"})

    def consumers(self, store: Store) -> dict[str, Consumer]:
        """By index: its owner. ``kibana``: as whom Kibana signs in."""
        kibana = {_KIBANA_KEY: Consumer(_KIBANA, "")}
        return {**by_owner(store, _ADMIN, store.indices), **kibana}

    def url(self, store: Store, consumer: Consumer, password: str, server: Reached) -> str:
        del store
        who = f"{encoded(consumer.user)}:{encoded(password)}"
        return f"{'https' if server.tls else 'http'}://{who}@{server.at}"

    def settings(self, store: Store) -> dict[str, str]:
        """The lines of elasticsearch.yml that can be set otherwise."""
        return {
            # Else the host's vm.max_map_count would have to be raised.
            "node.store.allow_mmap": "false",
            # Neither asks anybody outside for anything.
            "ingest.geoip.downloader.enabled": "false",
            "xpack.ml.enabled": "false",
            **store.settings,
        }

    def workload(self, name: str, store: Store) -> Workload:
        heap = self.memory(store) // 2 // 1024**2
        settings = {
            "cluster.name": name,
            "node.name": name,
            "network.host": "0.0.0.0",  # noqa: S104 - of its container
            # VI-10: it would look for others, and make certificates that no client knows.
            "discovery.type": "single-node",
            "path.data": f"{_DATA}/node",
            "path.repo": _COPIES,
            "xpack.security.enabled": "true",
            "xpack.security.autoconfiguration.enabled": "false",
            "xpack.security.enrollment.enabled": "false",
            "xpack.security.http.ssl.enabled": "false",
            "xpack.security.transport.ssl.enabled": "false",
            **self.settings(store),
        }
        lines = "".join(f"{key}: {json.dumps(value)}\n" for key, value in settings.items())
        return Workload(
            image=store.image or self.image,
            entrypoint=["/bin/bash", "-c"],
            command=[_START],
            environment={
                "HOME": _TMP,
                # Its own log of garbage collections is of 2 GB.
                "ES_JAVA_OPTS": f"-Xms{heap}m -Xmx{heap}m -Xlog:disable -Xlog:all=warning:stderr",
            },
            configs={"elasticsearch.yml": lines},
            secret_files={"password": f"${{password.{_ADMIN}}}"},
            ports=[Port(target=self.port, published=store.published)],
            volumes=[Volume(name=store.volume or f"{name}-data", target=_DATA, size=store.size)],
            # It unpacks a library there, and loads it.
            tmpfs={_TMP: "exec", f"{_HOME}/logs": "uid=1000,gid=0"},
            healthcheck=Healthcheck(
                test=["CMD-SHELL", _HEALTHY],
                interval="10s",
                timeout="10s",
                retries=12,
                start_period="120s",
            ),
            resources=store.resources or self.resources,
            stop_grace_period="60s",
            user="1000:0",
            stateful=True,
            unverified=True,
            **placement(store),
        )

    def _scripts(self, store: Store) -> dict[str, str]:
        """What the setup job runs: SCRIPT, and what it puts."""
        lines = [_CLIENT, _BEGIN]
        found: dict[str, str] = {}

        def put(path: str, body: dict[str, Any]) -> None:
            variable = f"BODY_{len(found)}"
            found[variable] = literal(json.dumps(body))
            lines.append(f'ask PUT {path} "${variable}"\n')

        for index in store.indices:
            if index.retention:
                put(f"_ilm/policy/tiers-{index.name}", _lifecycle(index.retention))
            put(f"_index_template/tiers-{index.name}", _template(index))
        for user, variable in self.password_variables(store).items():
            password = f'{{\\"password\\":\\"$(escaped "${variable}")\\"'
            if user == _KIBANA:
                lines.append(f'ask PUT _security/user/{user}/_password "{password}}}"\n')
                continue
            own = [index.name for index in store.indices if index.owner == user]
            role = _MONITOR if user == MONITORING and store.monitoring else _role(own)
            put(f"_security/role/tiers-{user}", role)
            roles = f'\\"roles\\":[\\"tiers-{user}\\"]'
            lines.append(f'ask PUT _security/user/{user} "{password},{roles}}}"\n')
        return {**found, "SCRIPT": literal("".join(lines))}

    def setup(self, name: str, store: Store, *, managed: bool = False) -> Workload | None:
        del managed
        return Workload(
            image=store.image or self.image,
            entrypoint=["/bin/bash", "-c"],
            command=['exec /bin/bash -c "$SCRIPT"'],
            environment={
                "HOME": _TMP,
                "SERVER": f"{name}:{self.port}",
                "ADMIN": _ADMIN,
                **self._scripts(store),
            },
            secrets=self.setup_secrets(store),
            networks=store.networks,
            depends_on={name: Condition.SERVICE_HEALTHY},
            user="1000:0",
            tmpfs={_TMP: ""},
            resources=Resources(cpus=0.5, memory="128m"),
            job=True,
        )

    def backups(self, store: Store, *, managed: bool = False) -> dict[str, Backup]:
        del managed
        if not store.indices:
            # All but its own.
            return {"": _backup(["*", "-.*"], "[^.].*")}
        return {
            index.name: _backup(_names(index.name), f"{index.name}(-.*)?")
            for index in store.indices
        }

    def check(self, store: Store) -> list[tuple[str, str]]:
        found: list[tuple[str, str]] = []
        for key, value in store.settings.items():
            if not _SETTING.fullmatch(key):
                remedy = "write its name as in elasticsearch.yml, such as 'indices.fielddata.cache'"
                found.append((f"{shown(key)} is not a setting of Elasticsearch", remedy))
            elif _OURS.fullmatch(key):
                found.append((f"the setting '{key}' is this library's", "remove it"))
            elif not value.isprintable():
                why = f"the setting '{key}' is not one line of elasticsearch.yml"
                found.append((why, "write its value on one line"))
        for index in store.indices:
            found += _check_index(index, [other.name for other in store.indices])
        return [*found, *check_setup(self._scripts(store).values())]

    def check_secret(self, name: str, value: str) -> list[tuple[str, str]]:
        found = super().check_secret(name, value)
        if len(value) < 6:
            found.append(("the password has fewer than 6 characters", "give it 6 or more"))
        return found

    def check_queue(self, store: Store) -> list[tuple[str, str]]:
        del store
        return [("Elasticsearch has no queue", "name a store such as RabbitMQ or Redis")]


def _check_index(index: Index, indices: list[str]) -> Iterator[tuple[str, str]]:
    name = index.name
    if name == _KIBANA_KEY:
        why = f"'{name}' is the connection of Kibana, and can't be that of an index"
        yield why, "rename the index"
    if index.owner in {*_RESERVED, _KIBANA}:
        yield f"Elasticsearch has a user '{index.owner}' of its own", "choose another owner"
    for other in indices:
        if name.startswith(f"{other}-"):
            why = f"'{name}' is one of the indices of '{other}', which are all that begin so"
            yield why, "rename one of them, or remove it"
    for field, kind in index.fields.items():
        if kind not in _TYPES:
            why = f"the field {shown(field)} of '{name}' has no type of Elasticsearch's"
            yield f"{why}: {shown(kind)}", nearest(kind, _TYPES)
        if not re.fullmatch(r"[^.\s]+(\.[^.\s]+)*", field):
            why = f"{shown(field)} of '{name}' is not a name for a field"
            yield why, "write it like 'message' or 'http.status'"
        elif field in _METADATA:
            yield f"each document has a field {shown(field)} already", "choose another name"
        for parent in accumulate(field.split(".")[:-1], "{}.{}".format):
            if index.fields.get(parent, "object") not in {"object", "nested"}:
                why = f"the field {shown(parent)} of '{name}' has others in it, as {shown(field)}"
                yield why, "make it an 'object', or rename one of them"


def _names(*indices: str) -> list[str]:
    """The names of which each of them is the beginning."""
    return [name for index in indices for name in (index, f"{index}-*")]


def _lifecycle(days: int) -> dict[str, Any]:
    delete: dict[str, Any] = {"min_age": f"{days}d", "actions": {"delete": {}}}
    return {"policy": {"phases": {"hot": {"actions": {}}, "delete": delete}}}


def _template(index: Index) -> dict[str, Any]:
    # There is no second node that a copy could be on.
    settings: dict[str, Any] = {"index.number_of_replicas": 0}
    if index.retention:
        settings["index.lifecycle.name"] = f"tiers-{index.name}"
    template: dict[str, Any] = {"settings": settings}
    if index.fields:
        properties = {name: _field(kind) for name, kind in index.fields.items()}
        template["mappings"] = {"dynamic": False, "properties": properties}
    return {
        "index_patterns": _names(index.name),
        # Elasticsearch's own have 100.
        "priority": 500,
        "template": template,
    }


def _field(kind: str) -> dict[str, Any]:
    # A document with a longer word would be refused: such a word is kept and not found.
    return {"type": kind, **({"ignore_above": 8191} if kind in ("keyword", "flattened") else {})}


#: How much there is of what, and no document.
_MONITOR = {
    "cluster": ["monitor"],
    "indices": [{"names": ["*"], "privileges": ["monitor"]}],
}


def _role(indices: list[str]) -> dict[str, Any]:
    rights = [{"names": _names(*indices), "privileges": ["all"]}]
    return {"cluster": ["monitor"], "indices": rights}


def _backup(names: list[str], pattern: str) -> Backup:
    """A snapshot of indices, through the server's own disk. `pattern`: fits their names."""
    begin = (
        f"{ONE_AT_A_TIME}{_HERE}mkdir -p {_COPIES}\n"
        f"trap 'rm -rf /tmp/who {_COPIES}/tiers' EXIT\n"
        f"rm -rf {_COPIES}/tiers\n"
    )
    repository = 'ask PUT _snapshot/tiers \'{"type":"fs","settings":{"location":"tiers"}}\'\n'
    what = {"indices": ",".join(names), "ignore_unavailable": True, "include_global_state": False}
    ask = f"?wait_for_completion=true' '{json.dumps(what)}'\ngrep -q '\"failed\":0' /tmp/said\n"
    dump = (
        f"{begin}{repository}ask PUT '{_SNAPSHOT}{ask}"
        f"tar -C {_COPIES} -cf - tiers\nask DELETE _snapshot/tiers\n"
    )
    restore = (
        f"{begin}tar -C {_COPIES} -xf -\n{repository}"
        # The server takes no pattern for what closes.
        "ask GET '_cat/indices?h=index&expand_wildcards=open'\n"
        f"for index in $(grep -xE '{pattern}' /tmp/said); do ask POST \"$index/_close\"; done\n"
        f"ask POST '{_SNAPSHOT}/_restore{ask}ask DELETE _snapshot/tiers\n"
    )
    return Backup(
        dump=["/bin/bash", "-c", dump],
        restore=["/bin/bash", "-c", restore],
        suffix=".tar",
        inside=True,
    )
