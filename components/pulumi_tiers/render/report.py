"""A stack for people who decide about it: what runs, what is reached, what it costs. Markdown."""

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

from pulumi_tiers.model.workload import CONFIGS, SECRET_FILES
from pulumi_tiers.platforms.labels import (
    LABEL_NETWORK,
    LABEL_SERVICE,
    LABEL_SIZE,
    LABEL_SYSTEM,
    tag_key,
)
from pulumi_tiers.prices import charged, price, total
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
from pulumi_tiers.render.graph import SECRET, shown
from pulumi_tiers.render.markdown import bullets, table, text
from pulumi_tiers.render.picture import PEOPLE, Kind, Node, Picture, picture
from pulumi_tiers.render.recorder import Json, Recording, Resource, bare

_CLUSTER = "digitalocean:index/kubernetesCluster:KubernetesCluster"
_DATABASE = "digitalocean:index/databaseCluster:DatabaseCluster"
_VOLUME = "docker:index/volume:Volume"
_CLAIM = "kubernetes:core/v1:PersistentVolumeClaim"


def report(recording: Recording, stack: str, known: Mapping[str, float] | None = None) -> str:
    """The report as Markdown, without any secret's value. `known`: as in `prices.price`."""
    drawn = picture(recording)
    resources = sorted(recording.resources, key=lambda resource: resource.urn)
    given = files(recording)
    parts = [f"# Stack {text(stack)}", *_systems(drawn, resources, given)]
    urls = shown(recording.outputs.get("urls"))
    nodes = {node.key: node for node in drawn.nodes}
    reached = [
        [
            *edge.target.split("/", 1),
            ", ".join(edge.lines),
            ", ".join(_urls(urls, edge.target)),
            _tls(nodes[edge.target], resources, given),
        ]
        for edge in drawn.edges
        if edge.source == PEOPLE
    ]
    head = "System|Name|Ports|URLs|TLS"
    parts += ["## Reached from outside", *table(head, reached, "Nothing is.")]
    parts += ["## Secrets", *_secrets(resources, given), "## Price"]
    parts += _costs(resources, known or {})
    if recording.warnings:
        parts += ["## Warnings", bullets(map(text, sorted(recording.warnings)))]
    return "\n\n".join(parts) + "\n"


Place = tuple[str, str]
"""System and service."""


def _systems(
    drawn: Picture, resources: Sequence[Resource], given: Mapping[Place, Sequence[File]]
) -> Iterator[str]:
    titles = {system.name: system.title for system in drawn.systems}
    managed = [(*_place(item), item) for item in resources if item.type == _DATABASE]
    details = _details(resources)
    networks = _networks(resources)
    for name in sorted({*titles, *(system for system, _, _ in managed)}):
        nodes = [
            node for node in drawn.nodes if node.system == name and (name, node.name) in details
        ]
        yield f"## System {text(titles.get(name, name))}"
        yield from table(
            "Name|Kind|Image|Replicas|Limits of each|Health check|Data|Remarks",
            (
                [node.name, node.kind.value, node.image, _replicas(node, resources)]
                + details[name, node.name]
                + ["hardening unverified" if node.unverified else ""]
                for node in nodes
            ),
        )
        rows = [
            [
                node.name,
                ", ".join(networks.get((name, node.name), [])),
                ", ".join(file.path for file in given.get((name, node.name), [])),
            ]
            for node in nodes
        ]
        yield from table("Name|Networks|Files", (row for row in rows if any(row[1:])))
        stores = [[store, *_managed(item)] for system, store, item in managed if system == name]
        yield from table("Managed database|What|Version|Region", stores)


def _details(resources: Sequence[Resource]) -> dict[Place, list[str]]:
    """Limits, health check and data of each service."""
    claims = {_named(item): shown(item.inputs)["spec"] for item in resources if item.type == _CLAIM}
    sizes = {
        bare(item.inputs)["name"]: labels_of(item).get(LABEL_SIZE, "")
        for item in resources
        if item.type == _VOLUME
    }
    found: dict[Place, list[str]] = {}
    # Of replicas, the first is told: so the picture does.
    for item in reversed(resources):
        if part_of(item):
            continue
        if item.type == CONTAINER:
            found[_place(item)] = _container(shown(item.inputs), sizes)
        elif item.type in PODS:
            found[_place(item)] = _pod(item, claims)
    return found


def _replicas(node: Node, resources: Sequence[Resource]) -> str:
    for item in resources:
        if item.type in SCALERS and _place(item) == (node.system, node.name):
            spec = bare(item.inputs)["spec"]
            if "triggers" in spec:
                kinds = " and ".join(shown(trigger["type"]) for trigger in spec["triggers"])
                return f"{node.count}, by {kinds}"
            [metric] = spec["metrics"]
            target = metric["resource"]["target"]["averageUtilization"]
            return f"{node.count}, at {target} % of the requested CPU"
        if item.type in PODS and _place(item) == (node.system, node.name):
            if item.type.endswith(":DaemonSet"):
                return "one per node"
            if item.type.endswith(":CronJob"):
                return "on demand"
    return node.count


def _networks(resources: Sequence[Resource]) -> dict[Place, list[str]]:
    """The networks of each service, with its fixed addresses there; not where there is but one."""
    found: defaultdict[Place, dict[str, list[str]]] = defaultdict(dict)
    for item in resources:
        if part_of(item):
            continue
        if item.type == CONTAINER:
            for network in bare(item.inputs).get("networksAdvanced") or []:
                addresses = found[_place(item)].setdefault(network["name"], [])
                addresses += filter(None, [network.get("ipv4Address")])
        elif item.type in PODS:
            pod = pod_template(item)["metadata"]["labels"]
            for label in sorted(pod):
                if label.startswith(f"{LABEL_NETWORK}."):
                    found[_place(item)][label.removeprefix(f"{LABEL_NETWORK}.")] = []
    of_systems: defaultdict[str, set[str]] = defaultdict(set)
    for (system, _), networks in found.items():
        of_systems[system].update(networks)
    return {
        place: [" ".join([name, *networks[name]]) for name in sorted(networks)]
        for place, networks in found.items()
        if len(of_systems[place[0]]) > 1 or any(networks.values())
    }


def _tls(node: Node, resources: Sequence[Resource], given: Mapping[Place, Sequence[File]]) -> str:
    """Where the certificate of what is published comes from."""
    if node.kind is not Kind.EDGE:
        return ""
    place = node.system, node.name
    component = next(
        item.parent
        for item in resources
        if _place(item) == place and (item.type == CONTAINER or item.type.endswith(":Deployment"))
    )
    beside = [item for item in resources if item.parent == component]
    for item in beside:
        annotations = bare(item.inputs.get("metadata") or {}).get("annotations") or {}
        if any(key.endswith("do-loadbalancer-certificate-id") for key in annotations):
            return "ended by DigitalOcean's load balancer"
    if any(_place(item) == (node.system, f"{node.name}-certbot") for item in beside):
        return "Let's Encrypt"
    if any(item.type == "tls:index/selfSignedCert:SelfSignedCert" for item in beside):
        return "self-signed"
    paths = [file.path for file in given.get(place, [])]
    return "certificate given" if f"{SECRET_FILES}/tls.crt" in paths else "none"


def _managed(resource: Resource) -> list[object]:
    inputs = shown(resource.inputs)
    cost = price(resource.type, inputs)
    return [cost.what if cost else "", inputs.get("version"), inputs.get("region")]


def _container(inputs: Json, sizes: Mapping[str, str]) -> list[str]:
    """Limits, health check, data."""
    health = inputs.get("healthcheck") or {}
    limits = [f"{float(inputs['cpus']):g} CPU"] if inputs.get("cpus") else []
    limits += [f"{inputs['memory']} MiB"] if inputs.get("memory") else []
    data: list[str] = []
    for item in inputs.get("mounts") or []:
        if item["target"] not in (CONFIGS, SECRET_FILES):
            size = sizes.get(item["source"])
            data.append(f"{item['source']}{f' ({size})' if size else ''} at {item['target']}")
    check = _command(health.get("tests"), health.get("interval"))
    return [", ".join(limits), check, "; ".join(data)]


def _pod(resource: Resource, claims: Mapping[tuple[str, str], Json]) -> list[str]:
    """Limits, health check, data."""
    spec = shown(resource.inputs)["spec"]
    pod = shown(pod_template(resource))["spec"]
    container = pod["containers"][0]
    limits = (container.get("resources") or {}).get("limits") or {}
    thousandths = re.fullmatch(r"(\d+)m", str(limits.get("cpu")))
    cpu = f"{int(thousandths[1]) / 1000:g}" if thousandths else limits.get("cpu")
    told = [f"{cpu} CPU" if cpu else "", re.sub(r"(.i)$", r" \1B", str(limits.get("memory", "")))]
    if gpus := limits.get("nvidia.com/gpu"):
        told.append(f"{gpus} GPU")
    probe = container.get("readinessProbe") or {}
    get, every = probe.get("httpGet"), f"{probe.get('periodSeconds')}s"
    # As Kubernetes has them, dollar signs are doubled.
    words = [word.replace("$$", "$") for word in (probe.get("exec") or {}).get("command") or []]
    check = _command(words, every)
    if get:
        check = f"GET {get.get('path')} on port {get.get('port')}, every {every}"
    templates = spec.get("volumeClaimTemplates") or []
    kept = {claim["metadata"]["name"]: claim["spec"] for claim in templates}
    for volume in pod.get("volumes") or []:
        if "persistentVolumeClaim" in volume:
            name = volume["persistentVolumeClaim"]["claimName"]
            kept[volume["name"]] = claims.get((_named(resource)[0], name)) or {}
    scratch = {
        volume["name"]: volume["emptyDir"].get("sizeLimit", "no limit")
        for volume in pod.get("volumes") or []
        if "emptyDir" in volume and volume["emptyDir"].get("medium") != "Memory"
    }
    each = ", of each replica" if templates else ""
    data: list[str] = []
    for item in container.get("volumeMounts") or []:
        at = f"at {item['mountPath']}"
        if item["name"] in kept:
            data.append(f"{_storage(kept[item['name']])} {at}{each}")
        elif item["name"] in scratch:
            data.append(f"{scratch[item['name']]} {at}, scratch")
    return [", ".join(filter(None, told)), check, "; ".join(data)]


def _command(words: Sequence[str] | None, every: object) -> str:
    told = [word for word in words or [] if word not in ("CMD", "CMD-SHELL", "NONE")]
    return f"{' '.join(told)}, every {every}" if told else ""


def _storage(claim: Json) -> str:
    requests = (claim.get("resources") or {}).get("requests") or {}
    return str(requests.get("storage") or "size unknown")


def _named(resource: Resource) -> tuple[str, str]:
    """Namespace and name."""
    metadata = shown(resource.inputs).get("metadata") or {}
    return str(metadata.get("namespace") or ""), str(metadata.get("name") or "")


def _place(resource: Resource) -> tuple[str, str]:
    """System and service, from labels or tags."""
    inputs = shown(resource.inputs)
    if resource.type == _DATABASE:
        tags = dict(tag.partition(":")[::2] for tag in inputs.get("tags") or [])
        system = tags.get(tag_key(LABEL_SYSTEM), "elsewhere")
        return system, tags.get(tag_key(LABEL_SERVICE), resource.name)
    if "metadata" in inputs:
        labels = inputs["metadata"].get("labels") or {}
    else:
        labels = {item["label"]: item["value"] for item in inputs.get("labels") or []}
    return labels.get(LABEL_SYSTEM, ""), labels.get(LABEL_SERVICE, "")


def _urls(exported: Json, key: str) -> list[str]:
    """Of what the program exports as `urls`: system → service → URLs."""
    for part in key.split("/", 1):
        exported = exported.get(part) if isinstance(exported, Mapping) else None
    return [str(url) for url in exported] if isinstance(exported, list) else []


def _secrets(resources: Sequence[Resource], given: Mapping[Place, Sequence[File]]) -> Iterator[str]:
    rows = sorted({row for resource in resources for row in _held(resource)})
    if any(item.type == CONTAINER for item in resources):
        rows += [
            (*place, file.path.rpartition("/")[2], f"file in {SECRET_FILES}")
            for place in given
            for file in given[place]
            if file.secret
        ]
        rows.sort()
    yield from table("System|Name|Variable or file|Where", rows, "Nothing holds any.")
    made = [item.name for item in resources if item.type.endswith(":RandomPassword")]
    if made:
        yield f"Generated passwords: {text(', '.join(made))}."


def _held(resource: Resource) -> Iterator[tuple[str, str, str, str]]:
    """The names of the secrets that a resource holds, never their values."""
    # On Docker, who writes a workload's files has them in variables: they are told as files.
    if resource.type == CONTAINER and _place(resource)[1] != f"{part_of(resource)}-files":
        for entry in resource.inputs.get("envs") or []:
            name, equals, _ = str(bare(entry)).partition("=")
            if shown(entry) == SECRET and equals:
                yield *_place(resource), name, "environment"
    elif resource.type == "kubernetes:core/v1:Secret":
        inputs = bare(resource.inputs)
        for key in {**(inputs.get("data") or {}), **(inputs.get("stringData") or {})}:
            yield *_place(resource), key, f"Secret {_named(resource)[1]}"


def _costs(resources: Sequence[Resource], known: Mapping[str, float]) -> Iterator[str]:
    if not any(resource.type.startswith("digitalocean:") for resource in resources):
        yield "Nothing is made on DigitalOcean; of other places no prices are known here."
        return
    priced = ((item, price(item.type, shown(item.inputs), known)) for item in resources)
    found = [(item, cost) for item, cost in priced if cost]
    paid = {id(cost) for cost in charged(cost for _, cost in found)}
    rows = [
        [item.name, cost.what, cost.amount if id(cost) in paid else "see above"]
        for item, cost in found
    ]
    yield from table("Resource|What|USD a month", rows)
    yield f"Together: **{total(cost for _, cost in found)}**."
    if not any(item.type == _CLUSTER for item in resources):
        yield "The nodes of the existing cluster are not among them."
    if known:
        yield f"With prices of this stack's own for {text(', '.join(sorted(known)))}."
    sources = dict.fromkeys(source for _, cost in found for source in cost.tables)
    yield "List prices, without taxes, traffic, backups and snapshots, from:"
    yield bullets(f"{text(source.what)}: <{source.url}>, {source.date}" for source in sources)
