"""A picture of a stack: systems, their tiers, who needs whom and where people come in.

One function per target reads the recorded resources; Mermaid and Graphviz draw the same `Picture`.
"""

import re
import subprocess
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum

from pulumi_tiers.model.workload import Condition
from pulumi_tiers.platforms.labels import (
    LABEL_DEPENDS_ON,
    LABEL_JOB,
    LABEL_SERVICE,
    LABEL_SYSTEM,
    LABEL_UNVERIFIED,
    tag_key,
)
from pulumi_tiers.render.graph import shown
from pulumi_tiers.render.recorder import Recording, Resource, bare


class PictureError(Exception):
    """The picture could not be drawn."""


class Kind(Enum):
    """What a node is: it decides the shape."""

    SERVICE = "service"
    STORE = "store"
    JOB = "job"


@dataclass(frozen=True)
class System:
    """One system, and the network or namespace that it lives in."""

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

    @property
    def key(self) -> str:
        """What edges call it."""
        return f"{self.system}/{self.name}"

    @property
    def lines(self) -> list[str]:
        """The label."""
        lines = [f"{self.name} ×{self.replicas}" if self.replicas > 1 else self.name]  # noqa: RUF001
        if self.image:
            lines.append(self.image)
        if self.kind is Kind.JOB:
            lines.append("job")
        if self.unverified:
            lines.append("hardening unverified")
        return lines


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
    #: Empty: not in the system's network or namespace, but beside it.
    place: str
    #: The label.
    depends_on: str
    #: ``NAME=value``, secrets too: only names of hosts are taken from it.
    environment: list[str]
    #: Where people reach it.
    published: tuple[str, ...]


def picture(recording: Recording) -> Picture:
    """What the stack's components run. Resources without this library's labels are left out."""
    found = [*_docker(recording), *_kubernetes(recording), *_digitalocean(recording)]
    # One box per system, whatever else its containers are connected to.
    places = dict(sorted((each.node.system, each.place) for each in found if each.place))
    nodes = {each.node.key: each.node for each in found}
    edges: dict[tuple[str, str], tuple[str, ...]] = {}
    for each in found:
        system, source = each.node.system, each.node.key
        if each.published:
            edges[PEOPLE, source] = each.published
        # Not everybody waits for what it uses.
        for name in _addressed(each.environment):
            target = f"{system}/{name}"
            if target in nodes and target != source:
                edges[source, target] = ()
        for entry in each.depends_on.split(",") if each.depends_on else []:
            name, _, condition = entry.partition(":")
            node = Node(system, name, Kind.STORE)  # if this stack doesn't make it
            nodes.setdefault(node.key, node)
            edges[source, node.key] = ("after",) if condition == Condition.SERVICE_COMPLETED else ()
    return Picture(
        systems=[System(name, place) for name, place in sorted(places.items())],
        nodes=[nodes[key] for key in sorted(nodes)],
        edges=[Edge(*ends, lines) for ends, lines in sorted(edges.items())],
    )


# ``…@postgres:5432/…``, ``http://api:8080``, ``a:27017,b:27017`` and ``DB_HOST=postgres``; what
# stands before an @ is a user and a password.
_ADDRESS = re.compile(r"(?:[=@,]|//)([a-z][a-z0-9-]*):\d+(?![^/,]*@)|HOST=([a-z][a-z0-9-]*)$")


def _addressed(environment: list[str]) -> Iterator[str]:
    """The hosts that a program is told to connect to."""
    for variable in environment:
        for match in _ADDRESS.finditer(variable):
            yield match[1] or match[2]


# --- targets --------------------------------------------------------------------------------------


def _docker(recording: Recording) -> Iterator[_Found]:
    for (system, name), containers in _by_service(recording, "docker:index/container:Container"):
        first, labels = shown(containers[0].inputs), _labels(containers[0])
        tier, kind = _component(containers[0], job=LABEL_JOB in labels)
        image, unverified = first["image"], LABEL_UNVERIFIED in labels
        yield _Found(
            node=Node(system, name, kind, image, tier, len(containers), unverified),
            place=f"network {first['networksAdvanced'][0]['name']}",
            depends_on=labels.get(LABEL_DEPENDS_ON, ""),
            environment=bare(containers[0].inputs["envs"]),
            published=tuple(_docker_ports(containers)),
        )


def _docker_ports(containers: Sequence[Resource]) -> Iterator[str]:
    """``127.0.0.1:8000 → 8000``. Replicas have one number each: ``127.0.0.1:8000-8001 → 8000``."""
    numbers: defaultdict[tuple[str, int], list[int]] = defaultdict(list)
    for container in containers:
        for port in container.inputs["ports"]:
            numbers[port["ip"], port["internal"]].append(port["external"])
    for (address, internal), external in sorted(numbers.items()):
        first, last = min(external), max(external)
        yield f"{address}:{first if first == last else f'{first}-{last}'} → {internal}"


_KUBERNETES = (
    "kubernetes:apps/v1:Deployment",
    "kubernetes:apps/v1:StatefulSet",
    "kubernetes:batch/v1:Job",
)


def _kubernetes(recording: Recording) -> Iterator[_Found]:
    secrets = dict(_by_service(recording, "kubernetes:core/v1:Secret"))
    services = dict(_by_service(recording, "kubernetes:core/v1:Service"))
    for key, [workload, *_] in _by_service(recording, *_KUBERNETES):
        inputs = shown(workload.inputs)
        metadata, spec = inputs["metadata"], inputs["spec"]
        annotations = metadata.get("annotations", {})
        container = spec["template"]["spec"]["containers"][0]
        tier, kind = _component(workload, job=workload.type.endswith(":Job"))
        image, unverified = container["image"], LABEL_UNVERIFIED in annotations
        yield _Found(
            node=Node(*key, kind, image, tier, spec.get("replicas", 1), unverified),
            place=f"namespace {metadata['namespace']}",
            depends_on=annotations.get(LABEL_DEPENDS_ON, ""),
            environment=[
                f"{variable['name']}={variable.get('value', '')}" for variable in container["env"]
            ]
            + [
                f"{variable}={value}"
                for secret in secrets.get(key, [])
                for variable, value in bare(secret.inputs["stringData"]).items()
            ],
            published=tuple(
                f"load balancer :{port['port']} → {port['targetPort']}"
                for service in services.get(key, [])
                if service.inputs["spec"]["type"] == "LoadBalancer"
                for port in service.inputs["spec"]["ports"]
            ),
        )


def _digitalocean(recording: Recording) -> Iterator[_Found]:
    for database in recording.of_type("digitalocean:index/databaseCluster:DatabaseCluster"):
        inputs = shown(database.inputs)
        tags = dict(tag.split(":", 1) for tag in inputs.get("tags", []) if ":" in tag)
        key = tags.get(tag_key(LABEL_SYSTEM), ""), tags.get(tag_key(LABEL_SERVICE), "")
        if all(key):
            tier, kind = _component(database, job=False)
            what = f"DigitalOcean {inputs['engine']} {inputs['version']}, {inputs['size']}"
            node = Node(*key, kind, what, tier, inputs["nodeCount"])
            yield _Found(node, place="", depends_on="", environment=[], published=())


def _by_service(
    recording: Recording, *types: str
) -> Iterator[tuple[tuple[str, str], list[Resource]]]:
    """What belongs to each service of each system, in a stable order."""
    found: defaultdict[tuple[str, str], list[Resource]] = defaultdict(list)
    for resource in sorted(recording.resources, key=lambda resource: resource.urn):
        if resource.type in types:
            labels = _labels(resource)
            if LABEL_SYSTEM in labels and LABEL_SERVICE in labels:
                found[labels[LABEL_SYSTEM], labels[LABEL_SERVICE]].append(resource)
    yield from found.items()


def _labels(resource: Resource) -> dict[str, str]:
    inputs = bare(resource.inputs)
    if "metadata" in inputs:  # Kubernetes
        return dict(inputs["metadata"].get("labels", {}))
    return {item["label"]: item["value"] for item in inputs.get("labels", [])}


def _component(resource: Resource, *, job: bool) -> tuple[str, Kind]:
    """The title of the component that made a resource, and what the resource is in it."""
    _, _, types, name = resource.parent.split("::", 3)
    component = types.rpartition(":")[2]
    lasting = Kind.STORE if component == "DataTier" else Kind.SERVICE
    return f"{component} {name}", Kind.JOB if job else lasting


# --- Mermaid --------------------------------------------------------------------------------------

_MERMAID_SHAPES = {Kind.SERVICE: ("[", "]"), Kind.STORE: ("[(", ")]"), Kind.JOB: ("([", "])")}


def mermaid(recording: Recording) -> str:
    """The picture as a Mermaid flowchart, which GitHub draws in a Markdown file."""
    drawn = picture(recording)
    ids = _Ids()
    lines = ["flowchart LR"]
    if drawn.has_people:
        lines.append(f'  {ids[PEOPLE]}(("people"))')
    for system in drawn.systems:
        title = _mermaid_label([system.title])
        lines.append(f"  subgraph {ids[f'system {system.name}']}[{title}]")
        for tier, nodes in drawn.tiers(system).items():
            title = _mermaid_label([tier])
            lines.append(f"    subgraph {ids[f'{system.name}/{tier}']}[{title}]")
            lines += [f"      {_mermaid_node(node, ids)}" for node in nodes]
            lines.append("    end")
        lines.append("  end")
    lines += [f"  {_mermaid_node(node, ids)}" for node in drawn.outside]
    for edge in drawn.edges:
        label = f"|{_mermaid_label(edge.lines)}|" if edge.lines else ""
        lines.append(f"  {ids[edge.source]} -->{label} {ids[edge.target]}")
    unverified = [ids[node.key] for node in drawn.nodes if node.unverified]
    if unverified:
        lines.append("  classDef unverified stroke-dasharray: 5 5")
        lines.append(f"  class {','.join(unverified)} unverified")
    return "\n".join(lines) + "\n"


class _Ids(dict[str, str]):
    """Words that no parser minds, one per key."""

    def __missing__(self, key: str) -> str:
        word = re.sub(r"[^a-z0-9]+", "_", key.lower())
        # Two keys may become the same word.
        while word in self.values():
            word += "_"
        self[key] = word
        return word


def _mermaid_node(node: Node, ids: _Ids) -> str:
    left, right = _MERMAID_SHAPES[node.kind]
    return f"{ids[node.key]}{left}{_mermaid_label(node.lines)}{right}"


def _mermaid_label(lines: Sequence[str]) -> str:
    # Mermaid's own escapes; a number sign begins one.
    escapes = str.maketrans({"#": "#35;", '"': "#quot;", "<": "#lt;", ">": "#gt;"})
    return '"' + "<br/>".join(line.translate(escapes) for line in lines) + '"'


# --- Graphviz -------------------------------------------------------------------------------------

_DOT_SHAPES = {
    Kind.SERVICE: ("box", ""),
    Kind.STORE: ("cylinder", ""),
    Kind.JOB: ("box", "rounded"),
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
    nodes = {node.key: node for node in drawn.nodes}
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
    lines += [_dot_edge(edge, nodes.get(edge.source), nodes[edge.target]) for edge in drawn.edges]
    return _DOT_HEAD + "\n".join([*lines, "}", ""])


def _dot_node(node: Node) -> str:
    shape, style = _DOT_SHAPES[node.kind]
    styles = [style, "dashed"] if node.unverified else [style]
    return (
        f"{_quoted(node.key)} [label={_quoted(*node.lines)}, shape={shape},"
        f" style={_quoted(','.join(filter(None, styles)))}]"
    )


def _dot_edge(edge: Edge, source: Node | None, target: Node) -> str:
    ends = [_quoted(edge.source), _quoted(edge.target)]
    attributes = [f"label={_quoted(*edge.lines)}"] if edge.lines else []
    if source and source.tier == target.tier and target.kind is Kind.STORE:
        # A store stands in front of the jobs that set it up, next to those who use it.
        ends.reverse()
        attributes.append("dir=back")
    return f"  {' -> '.join(ends)} [{', '.join(attributes)}]"


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
