"""A system as one stack has it: its profiles, its watchers, its settings put in place."""

import ipaddress
import posixpath
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import ValidationError

from pulumi_tiers.engines import ENGINES
from pulumi_tiers.limits import init_name, is_managed
from pulumi_tiers.model.base import Model
from pulumi_tiers.model.edge import Edge, EdgePorts
from pulumi_tiers.model.errors import Mistake, mistakes_of
from pulumi_tiers.model.ml import MlModel
from pulumi_tiers.model.network import AddressRange, Network
from pulumi_tiers.model.observability import Observability
from pulumi_tiers.model.references import literal
from pulumi_tiers.model.store import Bucket, Database, Store, secret_key
from pulumi_tiers.model.system import PROFILE_OFF, Environment, System, Target
from pulumi_tiers.model.tls import Tls, TlsMode
from pulumi_tiers.model.workload import Build, Workload
from pulumi_tiers.models import DEFAULT_IMAGE as MODEL_IMAGE
from pulumi_tiers.observability.exporters import monitored
from pulumi_tiers.observability.logs import log_stores
from pulumi_tiers.observability.workloads import (
    check_observability,
    observability_workloads,
    watched,
)
from pulumi_tiers.settings import Databases, Gpus, Names, Publish, Settings

M = TypeVar("M", bound=Model)

LAST_PORT = 65535


def chosen(system: System, settings: Settings) -> System:
    """The system as the stack has it: its stores as they are owned, its parts that are wanted."""
    wanted = set(settings.profiles.get(system.name, system.default_profiles))
    stores = _stores(system, settings, wanted)
    disabled: dict[str, str] = {}
    for name, workload in system.workloads.items():
        if workload.profiles and not wanted & set(workload.profiles):
            disabled[name] = PROFILE_OFF
        elif workload.docker_only and settings.target is not Target.DOCKER:
            disabled[name] = str(workload.docker_only)

    def active(services: Mapping[str, Workload]) -> dict[str, Workload]:
        return {
            name: workload if settings.gpu is Gpus.ON else _on_cpu(workload)
            for name, workload in services.items()
            if name not in disabled
        }

    ours = {name for name, it in stores.items() if not is_managed(it, settings.target)}
    there = {*ours, *system.workloads} - set(disabled)
    return system.model_copy(
        update={
            "stores": stores,
            "services": active(system.services),
            "ml": active(system.ml),
            "disabled": disabled,
            "edges": {name: edge.with_endpoints(there) for name, edge in system.edges.items()},
        }
    )


def _on_cpu(workload: Workload) -> Workload:
    """The workload without its GPUs. Where it says which it sees, it sees none."""
    if workload.gpu is None:
        return workload
    environment = {
        name: "" if name == "CUDA_VISIBLE_DEVICES" else value
        for name, value in workload.environment.items()
    }
    return workload.model_copy(update={"gpu": None, "environment": environment})


def _stores(system: System, settings: Settings, wanted: Collection[str]) -> dict[str, Store]:
    """The system's stores, managed and owned as the stack has it, with what it needs of them."""

    def needed(part: Database | Bucket) -> bool:
        return not part.profiles or bool(set(part.profiles) & set(wanted))

    def owned(name: str, store: Store) -> Store:
        documented = settings.names is Names.DOCUMENTED
        managed = store.managed if documented else store.managed.model_copy(update={"name": None})
        if given := settings.managed.get(f"{system.name}/{name}"):
            managed = managed.model_copy(update=given.model_dump(exclude_unset=True))
        databases = [database for database in store.databases if needed(database)]
        buckets = [bucket for bucket in store.buckets if needed(bucket)]
        engine = ENGINES.get(store.engine)
        takes = engine is not None and "databases" in engine.takes
        if settings.databases is Databases.DEDICATED and takes and not store.users:
            own = system.name.replace("-", "_")
            databases = [Database(name=own, owner=own), *databases[1:]]
        parts = {"databases": databases, "buckets": buckets}
        return store.model_copy(update={"managed": managed, **parts})

    return {name: owned(name, store) for name, store in system.stores.items()}


def with_settings(system: System, settings: Settings, mistakes: list[Mistake]) -> System:
    """The system with the stack's images, numbers, addresses and certificates in place.

    Without the passwords that the stack gives: they were checked where they stand. What does not
    fit together any more is added to the mistakes.
    """
    put = _Put(system, settings, mistakes)
    edges = {name: put.edge(name, edge) for name, edge in system.edges.items()}
    put = _Put(system.model_copy(update={"edges": edges}), settings, mistakes)
    watchers = system.watchers
    if watchers and system.observability:
        # Certificates and ports of the edges are known only now.
        known = put.system.model_copy(update={"watchers": {}})
        watchers = observability_workloads(known, system.observability, settings.target)
    return system.model_copy(
        update={
            "networks": {name: put.network(network) for name, network in system.networks.items()},
            "stores": {name: put.store(name, store) for name, store in system.stores.items()},
            "services": {name: put.service(name, item) for name, item in system.services.items()},
            "ml": {name: put.service(name, item) for name, item in system.ml.items()},
            "edges": edges,
            "watchers": {name: put.service(name, item) for name, item in watchers.items()},
        }
    )


def with_watchers(system: System, settings: Settings, mistakes: list[Mistake]) -> System:
    """The system with what watches it: as described, and as the stack has it."""
    place = f"tiers:observability.{system.name}"
    given = settings.observability.get(system.name)
    described = system.observability
    if given is not None:
        # Whoever says how, wants it.
        own = described.model_dump(exclude_unset=True, exclude={"enabled"}) if described else {}
        try:
            described = Observability.model_validate(
                _merged(own, given.model_dump(exclude_unset=True))
            )
        except ValidationError as error:
            mistakes.extend(mistakes_of(error, place))
            described = None
    if described is None or not described.enabled:
        return system.model_copy(update={"observability": None})
    system = system.model_copy(
        update={
            "observability": described,
            "stores": monitored({**system.stores, **log_stores(system, described)}),
            "edges": {name: watched(edge) for name, edge in system.edges.items()},
        }
    )
    found = list(check_observability(f"{place}.", system, described, settings.target))
    mistakes.extend(found)
    if found:
        return system
    watchers = observability_workloads(system, described, settings.target)
    return system.model_copy(update={"watchers": watchers})


def _merged(under: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """Maps are merged, all else of `over` counts."""
    return {
        **under,
        **{
            key: _merged(under[key], value)
            if isinstance(value, dict) and isinstance(under.get(key), dict)
            else value
            for key, value in over.items()
        },
    }


@dataclass(frozen=True)
class _Put:
    """What a stack says, put into the parts of one system."""

    system: System
    settings: Settings
    mistakes: list[Mistake]

    def _updated(self, section: str, name: str, part: M, update: dict[str, object]) -> M:
        """The part with the update, checked again as a whole."""
        given = {key: getattr(part, key) for key in part.model_fields_set}
        try:
            return part.__class__.model_validate({**given, **update})
        except ValidationError as error:
            self.mistakes.extend(mistakes_of(error, f"{self.system.name}: {section}.{name}"))
            # What is right of it is looked at further.
            wrong = {entry["loc"][0] for entry in error.errors() if entry["loc"]}
            rest = {key: value for key, value in update.items() if key not in wrong}
            try:
                return part.__class__.model_validate({**given, **rest})
            except ValidationError:
                return part

    def _key(self, name: str) -> str:
        return f"{self.system.name}/{name}"

    def _image(self, name: str, reference: object) -> object:
        given = self.settings.images.get(self._key(name))
        if given or not isinstance(reference, str):
            return given or reference
        return self.settings.registry.apply(reference)

    def _published(self, port: int | None, *, edge: bool = False) -> int | None:
        # A load balancer has its ports for itself.
        if port is None or self.settings.target is not Target.DOCKER:
            return port
        if self.settings.publish is Publish.EDGES and not edge:
            return None
        own = self.settings.port_offsets.get(self.system.name)
        offset = self.settings.port_offset + (own or 0)
        if port + offset <= LAST_PORT:
            return port + offset
        key = "tiers:port_offset" if own is None else f"tiers:port_offsets.{self.system.name}"
        why = f"with {offset} added, the port {port} would be {port + offset}"
        least = (
            f"both together at most {LAST_PORT - port}" if own else f"at most {LAST_PORT - port}"
        )
        self.mistakes.append(Mistake(key, why, f"ports end at {LAST_PORT}: add {least}"))
        return port

    def _moved(self, addresses: AddressRange | None) -> AddressRange | None:
        return addresses.moved(self._shift) if addresses else None

    @property
    def _shift(self) -> int:
        """How far the system's addresses are moved."""
        target = self.settings.subnets.get(self.system.name)
        if target is None or self.system.subnet is None:
            return 0
        old, new = ipaddress.IPv4Network(self.system.subnet), ipaddress.IPv4Network(target)
        return int(new.network_address) - int(old.network_address)

    def network(self, network: Network) -> Network:
        def moved(part: str | None) -> str | None:
            if part is None:
                return None
            old = ipaddress.IPv4Network(part)
            return str(ipaddress.IPv4Network((old.network_address + self._shift, old.prefixlen)))

        update = {"subnet": moved(network.subnet), "ip_range": moved(network.ip_range)}
        return network.model_copy(update=update)

    def store(self, name: str, store: Store) -> Store:
        default = ENGINES[store.engine].image if store.engine in ENGINES else None
        key = self._key(name)
        return self._updated(
            "stores",
            name,
            store,
            {
                "image": self._image(name, store.image or default),
                "published": self._published(store.published),
                "console": self._published(store.console),
                "address": self._moved(store.address),
                "replicas": self.settings.replicas.get(key, store.replicas),
                "passwords": {
                    user: password
                    for user, password in store.passwords.items()
                    if secret_key(self.system.name, name, user) not in self.settings.secrets
                },
            },
        )

    def service(self, name: str, workload: Workload) -> Workload:
        settings, key = self.settings, self._key(name)
        source = self._source(name, workload)
        image = self._image(name, workload.image)
        urls = self._urls()

        def text(value: object) -> object:
            if isinstance(value, str):
                for reference, url in urls.items():
                    value = value.replace(reference, url)
            return value

        given = {
            variable: settings.variables[f"{self.system.name}/{variable}"]
            for variable in (*workload.optional_environment, *workload.environment)
            if f"{self.system.name}/{variable}" in settings.variables
        }
        secrets = {
            # What a stack gives is no reference to anything.
            variable: literal(settings.secrets[f"{self.system.name}/{variable}"])
            for variable in workload.stack_secrets
            if f"{self.system.name}/{variable}" in settings.secrets
        }
        return self._updated(
            "services",
            name,
            workload,
            {
                "image": None if source and key not in settings.images else image,
                "build": source if key not in settings.images else None,
                "binds": self._binds(name, workload),
                "environment": {
                    **{variable: text(value) for variable, value in workload.environment.items()},
                    **given,
                },
                "secrets": {
                    **{variable: text(value) for variable, value in workload.secrets.items()},
                    **secrets,
                },
                "secret_files": {
                    file: text(value) for file, value in workload.secret_files.items()
                },
                "ports": [
                    port.model_copy(update={"published": self._published(port.published)})
                    for port in workload.ports
                ],
                "addresses": self._moved(workload.addresses),
                "replicas": settings.replicas.get(key, workload.replicas),
                "autoscale": settings.autoscale.get(key, workload.autoscale),
                "concurrency": settings.concurrency.get(key, workload.concurrency),
                "docker_socket": workload.docker_socket
                or (key in settings.docker_sockets and settings.target is Target.DOCKER),
                "init": workload.init
                and workload.init.model_copy(
                    update={"image": self._image(init_name(name), workload.init.image)}
                ),
                "models": {
                    model: self._model(name, model, wanted)
                    for model, wanted in workload.models.items()
                },
            },
        )

    def _model(self, name: str, model: str, wanted: MlModel) -> MlModel:
        key = f"{self._key(name)}/{model}"
        image = self._image(init_name(name), wanted.image or MODEL_IMAGE)
        update: dict[str, object] = {"image": image}
        if key in self.settings.models:
            # Who names a version wants that one, and not to start without it.
            update |= {"version": self.settings.models[key], "optional": False}
        return wanted.model_copy(update=update)

    def _source(self, name: str, workload: Workload) -> Build | None:
        folder = self.settings.sources.get(self.system.name)
        if workload.source is None or folder is None or self._key(name) in self.settings.images:
            return workload.build
        context = posixpath.normpath(posixpath.join(folder, workload.source.context))
        variables = self.settings.variables
        args = {
            name: variables[f"{self.system.name}/{name}"]
            for name in workload.source.args
            if f"{self.system.name}/{name}" in variables
        }
        return Build(context=context, dockerfile=workload.source.dockerfile, args=args)

    def _binds(self, name: str, workload: Workload) -> dict[str, str]:
        folder = self.settings.sources.get(self.system.name)
        if self._key(name) in self.settings.images:  # it brings its own program
            return workload.binds
        development = self.settings.environment is Environment.DEVELOPMENT
        if folder and development and workload.source and workload.source.mount:
            return {**workload.binds, workload.source.mount: folder}
        return workload.binds

    def _urls(self) -> dict[str, str]:
        """What clients outside reach edges and stores by, by the reference to it."""
        managed = {
            f"${{{name}.public}}": f"https://${{{name}.host}}"
            for name, store in self.system.stores.items()
            if store.buckets and is_managed(store, self.settings.target)
        }
        led_to = self.system.public_addresses
        return managed | {text: self._url(edge) for text, edge in led_to.items()}

    def _url(self, edge: Edge) -> str:
        docker = self.settings.target is Target.DOCKER
        ports = edge.published if docker else edge.load_balancer
        scheme, port, default = (
            ("https", ports.https, 443) if edge.tls.on else ("http", ports.http, 80)
        )
        host = self.settings.domains.get(self.system.name) or "localhost"
        return f"{scheme}://{host}" + ("" if port in (default, None) else f":{port}")

    def edge(self, name: str, edge: Edge) -> Edge:
        settings = self.settings
        domain = settings.domains.get(self.system.name)
        tls = settings.tls.get(self.system.name)
        if tls is None and settings.environment is Environment.DEVELOPMENT:
            tls = Tls(mode=TlsMode.SELF_SIGNED)
        return self._updated(
            "edges",
            name,
            edge,
            {
                "image": self._image(name, edge.image),
                "tls": tls or edge.tls,
                "server_names": [domain] if domain else edge.server_names,
                "host_ip": settings.host_ips.get(self.system.name, edge.host_ip),
                "published": EdgePorts(
                    http=self._published(edge.published.http, edge=True),
                    https=self._published(edge.published.https, edge=True),
                ),
                "addresses": self._moved(edge.addresses),
                "replicas": settings.replicas.get(self._key(name), edge.replicas),
            },
        )
