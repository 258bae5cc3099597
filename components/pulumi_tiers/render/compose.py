"""A recording of Docker resources as a Compose file: what `up` would make, for any Compose.

Only keys that Docker Compose 1.29 and today's both understand; see docs/rendering.md.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

import yaml

from pulumi_tiers.platforms.labels import LABEL_DEPENDS_ON, LABEL_SERVICE, LABEL_SYSTEM
from pulumi_tiers.render.details import CONTAINER, labels_of
from pulumi_tiers.render.dumper import Dumper
from pulumi_tiers.render.recorder import (
    Json,
    Recording,
    Resource,
    Secret,
    bare,
    placeholders,
    replace_placeholders,
    variable_name,
)

_NETWORK = "docker:index/network:Network"
_VOLUME = "docker:index/volume:Volume"
_IMAGE = "docker:index/remoteImage:RemoteImage"
#: `docker compose up` leaves out what is in a profile that nobody chose.
_ON_DEMAND = "on-demand"


def compose(recording: Recording, stack: str) -> dict[str, Json]:
    """The Compose file as data. Secrets are ``${NAME}``, for a `.env` file beside it."""
    containers = recording.of_type(CONTAINER)
    names = {container.urn: _service_name(container, stack) for container in containers}
    builds = {
        image.inputs["name"]: bare(image.inputs["build"])
        for image in recording.of_type(_IMAGE)
        if image.inputs.get("build")
    }
    peers = _Peers(containers)
    services = {
        names[container.urn]: _service(
            container, builds, _dependencies(container, peers, names), _prepared(container, peers)
        )
        for container in sorted(containers, key=lambda item: names[item.urn])
    }
    return {
        "services": services,
        "networks": _top_level(recording.of_type(_NETWORK)),
        "volumes": _top_level(recording.of_type(_VOLUME)),
    }


def compose_yaml(recording: Recording, stack: str) -> str:
    """The Compose file as text."""
    parts = {key: part for key, part in compose(recording, stack).items() if part}
    return yaml.dump(parts, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)


def on_demand(recording: Recording, stack: str) -> list[str]:
    """The services that are made, and not started."""
    containers = recording.of_type(CONTAINER)
    return sorted(_service_name(item, stack) for item in containers if _is_on_demand(item))


def _is_on_demand(container: Resource) -> bool:
    return container.inputs.get("start") is False


class _Dumper(Dumper):
    """Writes scripts as people do."""


def _represent_text(dumper: _Dumper, text: str) -> yaml.ScalarNode:
    style = "|" if "\n" in text else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style)


_Dumper.add_representer(str, _represent_text)


def _service_name(container: Resource, stack: str) -> str:
    return str(container.inputs["name"]).removeprefix(f"{stack}-")


def _top_level(resources: Iterable[Resource]) -> dict[str, Json]:
    return {
        str(resource.inputs["name"]): {
            "name": resource.inputs["name"],
            **_if_set(
                internal=resource.inputs.get("internal"),
                ipam=_if_set(
                    config=[_ipam(item) for item in bare(resource.inputs.get("ipamConfigs")) or []]
                ),
                labels=labels_of(resource),
            ),
        }
        for resource in sorted(resources, key=lambda item: str(item.inputs["name"]))
    }


def _ipam(config: Json) -> dict[str, Json]:
    return _if_set(
        subnet=config.get("subnet"), ip_range=config.get("ipRange"), gateway=config.get("gateway")
    )


def _dependencies(
    container: Resource, peers: "_Peers", names: Mapping[str, str]
) -> dict[str, Json]:
    """What the engine waits for, and what it doesn't need to wait for ("started")."""
    found: dict[str, Json] = {}
    labels = labels_of(container)
    for entry in filter(None, labels.get(LABEL_DEPENDS_ON, "").split(",")):
        service, _, condition = entry.partition(":")
        if condition == "service_started":
            for urn in peers.by_service.get((labels.get(LABEL_SYSTEM, ""), service), []):
                found[names[urn]] = {"condition": condition}
    for urn in container.depends_on:
        if urn in peers.by_urn:
            found[names[urn]] = {"condition": _ready(peers.by_urn[urn])}
    return dict(sorted(found.items()))


def _ready(container: Resource) -> str:
    """What the engine takes for ready. Compose refuses to wait for health that nobody tells."""
    if container.inputs.get("mustRun") is False:
        return "service_completed_successfully"
    told = (bare(container.inputs.get("healthcheck")) or {}).get("tests") or ["NONE"]
    return "service_started" if told == ["NONE"] else "service_healthy"


class _Peers:
    """The containers by what others call them."""

    def __init__(self, containers: Iterable[Resource]) -> None:
        self.by_urn = {container.urn: container for container in containers}
        self.by_service: dict[tuple[str, str], list[str]] = {}
        for urn, container in self.by_urn.items():
            labels = labels_of(container)
            key = (labels.get(LABEL_SYSTEM, ""), labels.get(LABEL_SERVICE, ""))
            self.by_service.setdefault(key, []).append(urn)


def _service(
    container: Resource,
    builds: Mapping[str, Json],
    dependencies: Mapping[str, Json],
    prepared: Collection[str],
) -> dict[str, Json]:
    inputs = bare(container.inputs)
    image = inputs["image"]
    health = inputs.get("healthcheck") or {}
    capabilities = inputs.get("capabilities") or {}
    build = builds.get(image)
    return _if_set(
        container_name=inputs["name"],
        image=image,
        build=_if_set(
            context=build["context"],
            dockerfile=build.get("dockerfile"),
            args=build.get("buildArgs"),
            target=build.get("target"),
        )
        if build
        else None,
        entrypoint=_texts(inputs.get("entrypoints")),
        command=_texts(inputs.get("command")),
        environment={name: value for name, value, _ in _environment(container)},
        labels={label: _text(value) for label, value in labels_of(container).items()},
        depends_on=dict(dependencies),
        network_mode=inputs.get("networkMode"),
        networks={
            network["name"]: _if_set(
                aliases=network.get("aliases"), ipv4_address=network.get("ipv4Address")
            )
            or None
            for network in inputs.get("networksAdvanced") or []
        },
        ports=[
            f"{port['ip']}:{port['external']}:{port['internal']}"
            for port in inputs.get("ports") or []
        ],
        volumes=[_mount(mount, prepared) for mount in inputs.get("mounts") or []],
        tmpfs=[
            f"{path}:{options}" if options else path
            for path, options in sorted((inputs.get("tmpfs") or {}).items())
        ],
        healthcheck=_if_set(
            test=_texts(health.get("tests")),
            interval=health.get("interval"),
            timeout=health.get("timeout"),
            retries=health.get("retries"),
            start_period=health.get("startPeriod"),
        ),
        profiles=[_ON_DEMAND] if _is_on_demand(container) else None,
        restart=inputs.get("restart"),
        user=inputs.get("user"),
        read_only=inputs.get("readOnly"),
        init=inputs.get("init"),
        security_opt=inputs.get("securityOpts"),
        cap_drop=capabilities.get("drops"),
        cap_add=capabilities.get("adds"),
        mem_limit=f"{inputs['memory']}m" if inputs.get("memory") else None,
        mem_reservation=f"{inputs['memoryReservation']}m"
        if inputs.get("memoryReservation")
        else None,
        memswap_limit=f"{inputs['memorySwap']}m" if inputs.get("memorySwap") else None,
        cpus=float(inputs["cpus"]) if inputs.get("cpus") else None,
        deploy=_gpus(inputs.get("deviceRequests")),
        stop_grace_period=f"{inputs['stopTimeout']}s" if inputs.get("stopTimeout") else None,
        logging=_if_set(driver=inputs.get("logDriver"), options=inputs.get("logOpts")),
    )


def _gpus(requests: Iterable[Mapping[str, Json]] | None) -> dict[str, Json]:
    """In the only words that both know."""
    devices = [
        {
            "driver": request["driver"],
            "device_ids": request["deviceIds"],
            "capabilities": request["capabilities"],
        }
        for request in requests or []
    ]
    return {"resources": {"reservations": {"devices": devices}}} if devices else {}


def _mount(mount: Mapping[str, Json], prepared: Collection[str]) -> str:
    flags = {"ro": mount.get("readOnly"), "nocopy": mount["source"] in prepared}
    mode = ",".join(flag for flag, given in flags.items() if given)
    return ":".join(filter(None, (mount["source"], mount["target"], mode)))


def _prepared(container: Resource, peers: "_Peers") -> set[str]:
    """Volumes that a container prepares before this one runs.

    Compose makes all containers before any runs: an empty volume would take the rights of this
    one's image, and the other could not write.
    """
    return {
        mount["source"]
        for urn in container.depends_on
        if urn in peers.by_urn
        for mount in bare(peers.by_urn[urn].inputs.get("mounts") or [])
    }


def literal_secrets(recording: Recording) -> dict[str, str]:
    """Secrets that the program holds as plain texts: the variables that take their place."""
    return {
        value.strip("${}"): literal
        for container in recording.of_type(CONTAINER)
        for _, value, literal in _environment(container)
        if literal is not None
    }


def _environment(container: Resource) -> Iterator[tuple[str, str, str | None]]:
    """Name, value as Compose writes it, and the literal secret that the value stands for."""
    for entry in container.inputs.get("envs") or []:
        name, _, text = str(bare(entry)).partition("=")
        if isinstance(entry, Secret) and text and not any(placeholders(text)):
            yield name, f"${{{variable_name(f'{container.name}-{name}')}}}", text
        else:
            yield name, _text(text), None


def _text(text: str) -> str:
    """A literal text in Compose's spelling: its dollars doubled, our placeholders as variables."""
    return replace_placeholders(text.replace("$", "$$"), lambda _, name: f"${{{name}}}")


def _texts(texts: Iterable[str] | None) -> list[str]:
    return [_text(text) for text in texts or []]


def _if_set(**parts: Any) -> dict[str, Json]:
    """The parts that say something."""
    return {key: part for key, part in parts.items() if part not in (None, "", [], {})}
