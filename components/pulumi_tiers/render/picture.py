"""A picture of a stack: systems, their tiers, who needs whom and where people come in.

One function per target reads the recorded resources; Mermaid and Graphviz draw the same `Picture`.
"""

import re
import subprocess
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum

from pulumi_tiers.model.workload import CONFIGS, Condition
from pulumi_tiers.platforms.labels import (
    LABEL_DEPENDS_ON,
    LABEL_JOB,
    LABEL_SERVICE,
    LABEL_SYSTEM,
    LABEL_UNVERIFIED,
    tag_key,
)
from pulumi_tiers.render.details import (
    CONTAINER,
    PODS,
    SCALERS,
    File,
    files,
    labels_of,
    part_of,
    pod_template,
)
from pulumi_tiers.render.graph import shown
from pulumi_tiers.render.mermaid import Ids, label
from pulumi_tiers.render.recorder import Recording, Resource, bare


class PictureError(Exception):
    """The picture could not be drawn."""


class Kind(Enum):
    """What a node is: it decides the shape."""

    SERVICE = "service"
    STORE = "store"
    JOB = "job"
    EDGE = "edge"


@dataclass(frozen=True)
class System:
    """One system, and the networks or the namespace that it lives in."""

    name: str
    place: str

    @property
    def title(self) -> str:
        """What stands on its box."""
        return f"{self.name} ({self.place})"


@dataclass(frozen=True)
class Node:
    """One service or store, with all its replicas."""

    system: str
    name: str
    kind: Kind
    image: str = ""
    #: The component that made it. Empty: none of this stack did, so it is outside of all boxes.
    tier: str = ""
    replicas: int = 1
    unverified: bool = False
    #: Where an autoscaler decides: up to how many.
    most: int = 0

    @property
    def key(self) -> str:
        """What edges call it."""
        return f"{self.system}/{self.name}"

    @property
    def count(self) -> str:
        """How many there are."""
        return f"{self.replicas}-{self.most}" if self.most else str(self.replicas)

    @property
    def lines(self) -> list[str]:
        """The label."""
        many = self.replicas > 1 or self.most
        lines = [f"{self.name} ×{self.count}" if many else self.name]  # noqa: RUF001
        if self.image:
            lines.append(self.image)
        if self.kind is Kind.JOB:
            lines.append("job")
        if self.unverified:
            lines.append("hardening unverified")
        return lines


UPSTREAMS = f"{CONFIGS}/upstreams"
"""The file of an edge that says where its upstreams are."""
PEOPLE = "people"
"""Where the edges of published ports begin. The keys of nodes have a slash."""


@dataclass(frozen=True)
class Edge:
    """`source` needs `target`. Both are keys."""

    source: str
    target: str
    lines: tuple[str, ...] = ()


@dataclass(frozen=True)
class Picture:
    """What there is to draw, in a stable order."""

    systems: list[System]
    nodes: list[Node]
    edges: list[Edge]

    def tiers(self, system: System) -> dict[str, list[Node]]:
        """What is inside of a system's box."""
        tiers: defaultdict[str, list[Node]] = defaultdict(list)
        for node in self.nodes:
            if node.system == system.name and node.tier:
                tiers[node.tier].append(node)
        return dict(sorted(tiers.items()))

    @property
    def has_people(self) -> bool:
        """Whether anything is published."""
        return any(edge.source == PEOPLE for edge in self.edges)

    @property
    def outside(self) -> list[Node]:
        """What belongs to no box."""
        return [node for node in self.nodes if not node.tier]


@dataclass(frozen=True)
class _Found:
    """A node, and what is recorded with it that tells its edges."""

    node: Node
    #: Its networks, or its namespace. None: it is not in the system's, but beside it.
    places: tuple[str, ...]
    #: The label.
    depends_on: str
    #: ``NAME=value`` and files, secrets too: only names of hosts are taken from it.
    texts: list[str]
    #: Where people reach it.
    published: tuple[str, ...]


def picture(recording: Recording) -> Picture:
    """What the stack's components run. Resources without this library's labels are left out."""
    found = [*_docker(recording), *_kubernetes(recording), *_digitalocean(recording)]
    places: defaultdict[str, set[str]] = defaultdict(set)
    for each in found:
        if each.places:
            places[each.node.system].update(each.places)
    nodes = {each.node.key: each.node for each in found}
    called = _other_names(recording)
    edges: dict[tuple[str, str], tuple[str, ...]] = {}
    for each in found:
        system, source = each.node.system, each.node.key
        if each.published:
            edges[PEOPLE, source] = each.published
        # Not everybody waits for what it uses.
        for name in _addressed(each.texts):
            target = f"{system}/{called.get((system, name), name)}"
            if target in nodes and target != source:
                edges[source, target] = ()
        for entry in each.depends_on.split(",") if each.depends_on else []:
            name, _, condition = entry.partition(":")
            node = Node(system, name, Kind.STORE)  # if this stack doesn't make it
            nodes.setdefault(node.key, node)
            edges[source, node.key] = ("after",) if condition == Condition.SERVICE_COMPLETED else ()
    return Picture(
        systems=[System(name, _place(known)) for name, known in sorted(places.items())],
        nodes=[nodes[key] for key in sorted(nodes)],
        edges=[Edge(*ends, lines) for ends, lines in sorted(edges.items())],
    )


def _place(places: set[str]) -> str:
    """``network a``, ``networks a, b`` or ``namespace c``."""
    [kind, *_], names = zip(*(place.split(" ", 1) for place in sorted(places)), strict=True)
    return f"{kind}{'s' if len(names) > 1 else ''} {', '.join(names)}"


# ``…@postgres:5432/…``, ``http://api:8080``, ``a:27017,b:27017`` and ``DB_HOST=postgres``; what
# stands before an @ is a user and a password. An edge's upstreams: ``name host port``, per line.
_ADDRESS = re.compile(
    r"(?:[=@,]|//)([a-z][a-z0-9-]*)(?:\.[a-z0-9.-]+)?:\d+(?![^/,]*@)"
    r"|HOST=([a-z][a-z0-9-]*)$"
    r"|(?m:^[a-z][a-z0-9-]* ([a-z][a-z0-9-]*) \d+$)"
)


def _addressed(texts: list[str]) -> Iterator[str]:
    """The hosts that a program is told to connect to."""
    for text in texts:
        for match in _ADDRESS.finditer(text):
            yield match[1] or match[2] or match[3]


def _other_names(recording: Recording) -> dict[tuple[str, str], str]:
    """Host names that are not those of their services: system and host → service."""
    found: dict[tuple[str, str], str] = {}
    for resource in recording.of_type("kubernetes:core/v1:Service"):
        labels, metadata = labels_of(resource), bare(resource.inputs["metadata"])
        if LABEL_SERVICE in labels:
            found[labels.get(LABEL_SYSTEM, ""), metadata["name"]] = labels[LABEL_SERVICE]
    # Members of a replica set have a name each, which begins with the service's: ``mongo-0``.
    for resource in recording.of_type("kubernetes:apps/v1:StatefulSet"):
        labels, spec = labels_of(resource), bare(resource.inputs["spec"])
        for number in range(int(spec.get("replicas", 1))):
            member = f"{labels.get(LABEL_SERVICE, '')}-{number}"
            found[labels.get(LABEL_SYSTEM, ""), member] = labels.get(LABEL_SERVICE, "")
    return found


# --- targets --------------------------------------------------------------------------------------


def _docker(recording: Recording) -> Iterator[_Found]:
    given = files(recording)
    for key, containers in _by_service(recording, CONTAINER):
        first, labels = shown(containers[0].inputs), labels_of(containers[0])
        tier, kind = _component(containers[0], given.get(key, []), job=LABEL_JOB in labels)
        image, unverified = first["image"], LABEL_UNVERIFIED in labels
        networks = first.get("networksAdvanced") or []
        yield _Found(
            node=Node(*key, kind, image, tier, len(containers), unverified),
            places=tuple(f"network {network['name']}" for network in networks),
            depends_on=labels.get(LABEL_DEPENDS_ON, ""),
            texts=_texts(bare(containers[0].inputs.get("envs") or []), given.get(key, [])),
            published=tuple(_docker_ports(containers)),
        )


def _docker_ports(containers: Sequence[Resource]) -> Iterator[str]:
    """``127.0.0.1:8000 → 8000``. Replicas have one number each: ``127.0.0.1:8000-8001 → 8000``."""
    numbers: defaultdict[tuple[str, int], list[int]] = defaultdict(list)
    for container in containers:
        for port in container.inputs.get("ports") or []:
            numbers[port["ip"], port["internal"]].append(port["external"])
    for (address, internal), external in sorted(numbers.items()):
        first, last = min(external), max(external)
        yield f"{address}:{first if first == last else f'{first}-{last}'} → {internal}"


def _kubernetes(recording: Recording) -> Iterator[_Found]:
    given = files(recording)
    secrets = dict(_by_service(recording, "kubernetes:core/v1:Secret"))
    services = dict(_by_service(recording, "kubernetes:core/v1:Service"))
    scalers = dict(_by_service(recording, *SCALERS))
    for key, [workload, *_] in _by_service(recording, *PODS):
        inputs = shown(workload.inputs)
        metadata, spec = inputs["metadata"], inputs["spec"]
        annotations = metadata.get("annotations", {})
        container = shown(pod_template(workload))["spec"]["containers"][0]
        job = workload.type.endswith(":Job")
        tier, kind = _component(workload, given.get(key, []), job=job)
        image, unverified = container["image"], LABEL_UNVERIFIED in annotations
        replicas, most = spec.get("replicas", 1), 0
        for scaler in scalers.get(key, []):
            ends = bare(scaler.inputs)["spec"]
            count = "ReplicaCount" if "minReplicaCount" in ends else "Replicas"
            replicas, most = ends[f"min{count}"], ends[f"max{count}"]
        environment = [
            f"{variable['name']}={variable.get('value', '')}"
            for variable in container.get("env") or []
        ] + [
            f"{variable}={value}"
            for secret in secrets.get(key, [])
            for variable, value in (bare(secret.inputs).get("stringData") or {}).items()
        ]
        yield _Found(
            node=Node(*key, kind, image, tier, replicas, unverified, most),
            places=(f"namespace {metadata['namespace']}",),
            depends_on=annotations.get(LABEL_DEPENDS_ON, ""),
            texts=_texts(environment, given.get(key, [])),
            published=tuple(
                f"load balancer :{port['port']} → {port['targetPort']}"
                for service in services.get(key, [])
                if service.inputs["spec"].get("type") == "LoadBalancer"
                for port in service.inputs["spec"]["ports"]
            ),
        )


def _digitalocean(recording: Recording) -> Iterator[_Found]:
    for database in recording.of_type("digitalocean:index/databaseCluster:DatabaseCluster"):
        inputs = shown(database.inputs)
        tags = dict(tag.split(":", 1) for tag in inputs.get("tags", []) if ":" in tag)
        key = tags.get(tag_key(LABEL_SYSTEM), ""), tags.get(tag_key(LABEL_SERVICE), "")
        if all(key):
            tier, kind = _component(database, [], job=False)
            what = f"DigitalOcean {inputs['engine']} {inputs['version']}, {inputs['size']}"
            node = Node(*key, kind, what, tier, inputs["nodeCount"])
            yield _Found(node, places=(), depends_on="", texts=[], published=())


def _by_service(
    recording: Recording, *types: str
) -> Iterator[tuple[tuple[str, str], list[Resource]]]:
    """What belongs to each service of each system, in a stable order."""
    found: defaultdict[tuple[str, str], list[Resource]] = defaultdict(list)
    for resource in sorted(recording.resources, key=lambda resource: resource.urn):
        # What helps a workload is a detail of it.
        if resource.type in types and not part_of(resource):
            labels = labels_of(resource)
            if LABEL_SYSTEM in labels and LABEL_SERVICE in labels:
                found[labels[LABEL_SYSTEM], labels[LABEL_SERVICE]].append(resource)
    yield from found.items()


def _texts(environment: Sequence[str], given: Sequence[File]) -> list[str]:
    """Where a workload is told whom to connect to."""
    return [*environment, *(file.text for file in given), *(f"={file.text}" for file in given)]


def _component(resource: Resource, given: Sequence[File], *, job: bool) -> tuple[str, Kind]:
    """The title of the component that made a resource, and what the resource is in it."""
    _, _, types, name = resource.parent.split("::", 3)
    component = types.rpartition(":")[2]
    title = f"{component} {name}"
    if job:
        return title, Kind.JOB
    if any(file.path == UPSTREAMS for file in given):
        return title, Kind.EDGE
    return title, Kind.STORE if component == "DataTier" else Kind.SERVICE


# --- Mermaid --------------------------------------------------------------------------------------

_MERMAID_SHAPES = {
    Kind.SERVICE: ("[", "]"),
    Kind.STORE: ("[(", ")]"),
    Kind.JOB: ("([", "])"),
    Kind.EDGE: ("{{", "}}"),
}


def mermaid(recording: Recording) -> str:
    """The picture as a Mermaid flowchart, which GitHub draws in a Markdown file."""
    drawn = picture(recording)
    ids = Ids()
    lines = ["flowchart LR"]
    if drawn.has_people:
        lines.append(f'  {ids[PEOPLE]}(("people"))')
    for system in drawn.systems:
        title = label([system.title])
        lines.append(f"  subgraph {ids[f'system {system.name}']}[{title}]")
        for tier, nodes in drawn.tiers(system).items():
            title = label([tier])
            lines.append(f"    subgraph {ids[f'{system.name}/{tier}']}[{title}]")
            lines += [f"      {_mermaid_node(node, ids)}" for node in nodes]
            lines.append("    end")
        lines.append("  end")
    lines += [f"  {_mermaid_node(node, ids)}" for node in drawn.outside]
    for edge in drawn.edges:
        said = f"|{label(edge.lines)}|" if edge.lines else ""
        lines.append(f"  {ids[edge.source]} -->{said} {ids[edge.target]}")
    unverified = [ids[node.key] for node in drawn.nodes if node.unverified]
    if unverified:
        lines.append("  classDef unverified stroke-dasharray: 5 5")
        lines.append(f"  class {','.join(unverified)} unverified")
    return "\n".join(lines) + "\n"


def _mermaid_node(node: Node, ids: Ids) -> str:
    left, right = _MERMAID_SHAPES[node.kind]
    return f"{ids[node.key]}{left}{label(node.lines)}{right}"


# --- Graphviz -------------------------------------------------------------------------------------

_DOT_SHAPES = {
    Kind.SERVICE: ("box", ""),
    Kind.STORE: ("cylinder", ""),
    Kind.JOB: ("box", "rounded"),
    Kind.EDGE: ("hexagon", ""),
}

_FONT = 'fontname="Helvetica,Arial,sans-serif"'

_DOT_HEAD = f"""\
digraph stack {{
  rankdir=LR
  ranksep=1
  nodesep=0.3
  // On the right, because people come from the left.
  graph [labeljust=r, fontsize=12, {_FONT}]
  node [fontsize=11, {_FONT}]
  edge [fontsize=10, arrowsize=0.7, {_FONT}]
"""


def dot(recording: Recording) -> str:
    """The picture in Graphviz' language."""
    drawn = picture(recording)
    lines: list[str] = []
    if drawn.has_people:
        lines.append(f"  {_quoted(PEOPLE)} [shape=circle]")
    for system in drawn.systems:
        lines.append(f"  subgraph {_quoted(f'cluster {system.name}')} {{")
        lines.append(f"    label={_quoted(system.title)}")
        for tier, inside in drawn.tiers(system).items():
            lines.append(f"    subgraph {_quoted(f'cluster {system.name} {tier}')} {{")
            lines.append(f"      label={_quoted(tier)}")
            lines += [f"      {_dot_node(node)}" for node in inside]
            lines.append("    }")
        lines.append("  }")
    lines += [f"  {_dot_node(node)}" for node in drawn.outside]
    lines += [_dot_edge(edge) for edge in drawn.edges]
    return _DOT_HEAD + "\n".join([*lines, "}", ""])


def _dot_node(node: Node) -> str:
    shape, style = _DOT_SHAPES[node.kind]
    styles = [style, "dashed"] if node.unverified else [style]
    return (
        f"{_quoted(node.key)} [label={_quoted(*node.lines)}, shape={shape},"
        f" style={_quoted(','.join(filter(None, styles)))}]"
    )


def _dot_edge(edge: Edge) -> str:
    said = f"label={_quoted(*edge.lines)}" if edge.lines else ""
    return f"  {_quoted(edge.source)} -> {_quoted(edge.target)} [{said}]"


def _quoted(*lines: str) -> str:
    return '"' + r"\n".join(re.sub(r'([\\"])', r"\\\1", line) for line in lines) + '"'


def svg(recording: Recording) -> str:
    """The picture as SVG. Needs Graphviz."""
    try:
        done = subprocess.run(
            ["dot", "-Tsvg"],
            input=dot(recording),
            capture_output=True,
            encoding="utf-8",
            check=True,
        )
    except FileNotFoundError:
        raise PictureError("there is no program 'dot' on PATH: install graphviz") from None
    except subprocess.CalledProcessError as error:
        raise PictureError(
            f"Graphviz could not draw the picture: {error.stderr.strip()}"
        ) from error
    return done.stdout
