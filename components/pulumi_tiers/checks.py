"""What only the whole of a description shows: references, dependencies, reach, passwords, limits.

A stack's plan is checked with these functions, and so is a component in somebody else's program:
a plan of one.
"""

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from itertools import pairwise
from types import MappingProxyType

from pulumi_tiers.collisions import (
    check_claims,
    check_gpus,
    check_host_ports,
    check_names,
    check_networks,
    check_subnets,
    members,
    service_claims,
    service_ports,
    store_claims,
    store_members,
    store_ports,
)
from pulumi_tiers.engines import ENGINES, Engine
from pulumi_tiers.limits import (
    as_placed,
    bucket_name,
    check_limits,
    check_managed,
    check_scaler,
    check_version,
    is_managed,
    managed_name,
)
from pulumi_tiers.model.base import LONGEST_LABEL, size_in_bytes
from pulumi_tiers.model.cloud import Cloud, unknown_size
from pulumi_tiers.model.errors import Mistake, nearest, shown
from pulumi_tiers.model.references import CONCURRENCY, FIELDS, GENERATED, references
from pulumi_tiers.model.store import Store
from pulumi_tiers.model.system import PROFILE_OFF, Environment, System, Target
from pulumi_tiers.model.unknown import is_unknown
from pulumi_tiers.model.workload import Condition, Workload
from pulumi_tiers.models import check_models, with_models
from pulumi_tiers.nginx.workloads import check_edges, edges_workloads


def check_systems(
    systems: Iterable[System], target: Target, *, stack: str = "", documented_names: bool = False
) -> Iterator[Mistake]:
    """Every mistake that only the whole shows. Each part is valid by itself."""
    systems = list(systems)
    for system in systems:
        at = f"{system.name}: stores"
        site = f"{stack}-{system.name}"
        yield from check_stores(at, system.stores, target, system.environment, site=site)
        at = f"{system.name}: services"
        keys = connection_keys(system.stores, target)
        services = system.workloads
        engines = {name: store.engine for name, store in system.stores.items()}
        wrong = list(check_models(at, services, keys, engines))
        yield from wrong
        if not wrong:
            services = {name: with_models(name, item) for name, item in services.items()}
        yield from check_services(
            at, services, target, keys, disabled=system.disabled, engines=engines
        )
        if target is Target.DOCKER:  # on Kubernetes, there are none
            yield from _check_external_volumes(at, system, services)
        yield from _check_queues(at, system.workloads, system.stores, target)
        yield from _check_system_edges(system, target)
        yield from _check_reach(system, target)
        yield from check_networks(
            [
                *store_members(f"{system.name}: stores", system.stores),
                *members(at, system.workloads),
                *members(f"{system.name}: edges", edges_workloads(system, target)),
            ],
            system.networks,
            target,
        )
        if system.environment is Environment.PRODUCTION:
            yield from _check_literal_secrets(system)
    every = {
        f"{system.name}: services.{name}": item
        for system in systems
        for name, item in system.workloads.items()
    }
    yield from check_gpus(every, target)
    yield from check_names(systems, target, stack, documented_names=documented_names)
    if target is Target.DOCKER:
        yield from check_subnets(
            {f"{system.name}: networks": system.networks for system in systems}
        )
        # Each part has looked at its own; here they meet.
        yield from check_host_ports(
            port
            for system in systems
            for port in (
                *store_ports(f"{system.name}: stores", system.name, system.stores),
                *service_ports(f"{system.name}: services", system.name, system.workloads),
                *service_ports(
                    f"{system.name}: edges", system.name, edges_workloads(system, target)
                ),
            )
        )


def _check_system_edges(system: System, target: Target) -> Iterator[Mistake]:
    endpoints = {
        name: [port.target for port in workload.ports]
        for name, workload in system.workloads.items()
        # Nobody is there to answer most of the time.
        if not (workload.on_demand or workload.job)
    }
    for name, store in system.stores.items():
        engine = ENGINES.get(store.engine)
        if engine and not engine.check(store) and not is_managed(store, target):
            endpoints[name] = [port.target for port in engine.workload(name, store).ports]
    place = f"{system.name}: edges"
    ends = {
        name: "it runs to its end, and answers nobody after that"
        for name, workload in system.workloads.items()
        if workload.on_demand or workload.job
    }
    wrong = list(check_edges(place, system.edges, endpoints, target, system.disabled, ends))
    yield from wrong
    # What runs for an edge that cannot be is not its description's mistake.
    if not wrong:
        for name, workload in edges_workloads(system, target).items():
            yield from check_limits(f"{place}.{name}", workload, target)


def _check_reach(system: System, target: Target) -> Iterator[Mistake]:
    """Whether who speaks to another is in a network with it."""
    networks = {
        name: set(part.networks or system.networks)
        for name, part in (*system.stores.items(), *system.workloads.items())
        # What the cloud runs is in none of them.
        if not (isinstance(part, Store) and is_managed(part, target))
    }
    pairs = [
        (f"edges.{name}.upstreams.{key}.endpoint", set(edge.networks), upstream.endpoint)
        for name, edge in system.edges.items()
        for key, upstream in edge.upstreams.items()
    ]
    pairs += [
        (f"services.{name}.{section}.{key}", networks[name], reference.store)
        for name, workload in system.workloads.items()
        for section in ("environment", "secrets", "secret_files")
        for key, text in getattr(workload, section).items()
        if isinstance(text, str)
        for reference in references(text)
        if reference.field in {"host", "url", "dotnet"}
    ]
    for place, own, other in pairs:
        theirs = networks.get(other)
        # Networks that aren't there are told elsewhere.
        there = theirs and (own | theirs) <= set(system.networks)
        if theirs and there and not (own or theirs) & theirs:
            why = f"'{other}' is in no network with it, and can't be reached"
            remedy = f"put it into one of {', '.join(sorted(theirs))}, or '{other}' into one of its"
            yield Mistake(f"{system.name}: {place}", why, remedy)


def check_stores(
    place: str,
    stores: Mapping[str, Store],
    target: Target,
    environment: Environment | None = None,
    *,
    site: str = "",
) -> Iterator[Mistake]:
    """The stores of one system. A weak password is one in production only.

    `site`: the beginning of the names of managed ones.
    """
    yield from check_claims(store_claims(place, stores, target, site))
    if target is Target.DOCKER:
        yield from check_host_ports(store_ports(place, "", stores))
    for name, store in stores.items():
        at = f"{place}.{name}"
        engine = ENGINES.get(store.engine)
        if engine is None:
            yield Mistake(
                f"{at}.engine",
                f"there is no engine {shown(store.engine)}",
                nearest(store.engine, ENGINES),
            )
            continue
        wrong = engine.check(store)
        yield from (Mistake(at, why, remedy) for why, remedy in wrong)
        yield from _check_store(at, store, engine)
        yield from check_version(at, store, engine, target)
        if is_managed(store, target):
            yield from check_managed(at, store, engine)
            remedy = "set a shorter one, or shorten the name of the stack or of the system"
            called = managed_name(site, name, store)
            yield from _check_length(f"{at}.managed.name", called, remedy)
            for position, bucket in enumerate(store.buckets):
                called = bucket_name(site, name, store, bucket.name)
                yield from _check_length(f"{at}.buckets[{position}].name", called, remedy)
        elif not wrong:
            workload = engine.workload(name, as_placed(store, target))
            yield from check_limits(at, workload, target)
        known = engine.users(store)
        for user, password in store.passwords.items():
            if user not in known:
                yield Mistake(
                    f"{at}.passwords.{user}", "the store has no such user", nearest(user, known)
                )
            else:
                yield from check_password(f"{at}.passwords.{user}", password, environment)
                yield from check_secret(f"{at}.passwords.{user}", engine, user, password)


def _check_store(at: str, store: Store, engine: Engine) -> Iterator[Mistake]:
    """What holds for all engines."""
    for key in engine.unused(store):
        other = sorted(name for name, it in ENGINES.items() if key in it.takes)
        why = f"the engine {engine.name} has no use for '{key}'"
        yield Mistake(
            f"{at}.{key}", why, f"remove it; {' and '.join(other) or 'no engine'} takes it"
        )
    if store.managed.enabled and engine.service is None:
        why = f"no cloud of this library runs {engine.name} by itself"
        yield Mistake(f"{at}.managed.enabled", why, "remove it: it runs in the cluster")
    if engine.memory(store) < size_in_bytes(engine.least_memory):
        why = f"{engine.name} does not run with less than {engine.least_memory}"
        yield Mistake(f"{at}.resources.memory", why, f"give it {engine.resources.memory} or more")


def _check_length(place: str, name: str, remedy: str) -> Iterator[Mistake]:
    if len(name) > LONGEST_LABEL:
        yield Mistake(
            place,
            f"{shown(name)} has {len(name)} characters, and DigitalOcean takes {LONGEST_LABEL}",
            remedy,
        )


def check_cloud(place: str, cloud: Cloud, name: str) -> Iterator[Mistake]:
    """What DigitalOcean would refuse of the names of a new cluster and its VPC, both `name`."""
    if cloud.cluster_id is not None:
        return
    yield from _check_length(place, name, "shorten the name of the component or of the stack")
    if not re.fullmatch(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?", name):
        yield Mistake(
            # No key has the name: it is made of the stack's and the component's.
            place,
            f"the cluster would be called {shown(name)}, and DigitalOcean takes lower-case letters,"
            " digits and hyphens",
            "rename the component or the stack",
        )


def check_size(
    place: str, size: str, table: Collection[str], known: Collection[str]
) -> Iterator[Mistake]:
    """The size of a stack's managed store."""
    if unknown := unknown_size(size, table, known, "tiers:digitalocean.prices"):
        yield Mistake(place, *unknown)


def connection_keys(stores: Mapping[str, Store], target: Target) -> list[str]:
    """The keys of the stores' connections: ``postgres``, ``postgres.metabase``."""
    keys: list[str] = []
    for name, store in stores.items():
        engine = ENGINES.get(store.engine)
        if engine and is_managed(store, target):
            store = engine.as_managed(store)
        # An unknown engine is one mistake: whoever uses the store doesn't make another.
        databases = engine.consumers(store) if engine else [item.name for item in store.databases]
        keys += [name, *(f"{name}.{database}" for database in databases if database)]
    return keys


def check_services(
    place: str,
    services: Mapping[str, Workload],
    target: Target,
    connections: Iterable[str],
    elsewhere: Collection[str] = (),
    disabled: Mapping[str, str] = MappingProxyType({}),
    engines: Mapping[str, str] = MappingProxyType({}),
) -> Iterator[Mistake]:
    """The services of one tier of a system, which has these connections to stores.

    `elsewhere`: services of other tiers. `disabled`: services that the stack leaves out, and why.
    `engines`: those of the stores, as far as they are known.
    """
    connections = list(connections)
    yield from check_workloads(place, services, target)
    for name, workload in services.items():
        at = f"{place}.{name}"
        yield from check_references(at, workload, connections)
        yield from _check_spellings(at, workload, connections, engines)
        yield from _check_dependencies(
            at, name, workload, services, connections, elsewhere, disabled
        )
    yield from _check_cycles(place, services)


def check_workloads(
    place: str, workloads: Mapping[str, Workload], target: Target
) -> Iterator[Mistake]:
    """Workloads of one component: their names, their ports, and what the target can't do."""
    yield from check_claims(service_claims(place, workloads))
    if target is Target.DOCKER:
        yield from check_host_ports(service_ports(place, "", workloads))
    for name, workload in workloads.items():
        yield from check_limits(f"{place}.{name}", workload, target)


_NO_CONCURRENCY = "the workload has no concurrency"


def check_references(place: str, workload: Workload, known: Collection[str]) -> Iterator[Mistake]:
    """References that lead nowhere, or out of the secrets. `known`: the connections' keys."""
    yield from _check_commands(place, workload, known)
    sections: dict[str, Mapping[str, object]] = {
        "environment": workload.environment,
        "secrets": workload.secrets,
        "secret_files": workload.secret_files,
    }
    if workload.init:
        sections["init.environment"] = workload.init.environment
        sections["init.secrets"] = workload.init.secrets
    for section, values in sections.items():
        for variable, value in values.items():
            at = f"{place}.{section}.{variable}"
            for found in references(value) if isinstance(value, str) else []:
                if f"${{{found.text}}}" == CONCURRENCY and section == "environment":
                    if workload.concurrency is None:
                        remedy = "set the workload's 'concurrency'"
                        yield Mistake(at, _NO_CONCURRENCY, remedy)
                elif not found.store:
                    # In a secret it may be a part of the password.
                    text = f"${{{found.text}}}" if section.endswith("environment") else "${...}"
                    why = f"'{text}' is not a reference"
                    yield Mistake(at, why, "write ${store.field}, or $$ for a dollar sign")
                elif found.store == GENERATED:
                    if section.endswith("environment"):
                        why = f"'${{{found.text}}}' is secret, and environment is not"
                        yield Mistake(at, why, "move the variable to 'secrets'")
                    elif not re.fullmatch(r"[A-Z][A-Z0-9_]*", found.text.partition(".")[2]):
                        why = f"'${{{found.text}}}' is not the name of a secret"
                        yield Mistake(at, why, "write it like ${secret.JWT_SECRET}")
                elif found.store == "model" and found.field == "path":
                    why = f"'${{{found.text}}}' names no model of the service"
                    if found.connection.partition(".")[2] in workload.models:
                        why = f"'${{{found.text}}}' is no secret"
                    remedy = "write it in 'environment' or 'command', with a name out of 'models'"
                    yield Mistake(at, why, remedy)
                elif found.connection not in known:
                    why = f"'${{{found.text}}}' names no store of this system"
                    yield Mistake(at, why, nearest(found.connection, known))
                elif found.field not in FIELDS:
                    why = f"'${{{found.text}}}': a connection has no field '{found.field}'"
                    yield Mistake(at, why, nearest(found.field, FIELDS))
                elif found.secret and section.endswith("environment"):
                    why = f"'${{{found.text}}}' is secret, and environment is not"
                    yield Mistake(at, why, "move the variable to 'secrets'")


def _check_spellings(
    place: str, workload: Workload, known: Collection[str], engines: Mapping[str, str]
) -> Iterator[Mistake]:
    """Whether a store has the text for clients that is asked for: it would be empty."""
    for section in ("secrets", "secret_files"):
        for variable, value in getattr(workload, section).items():
            for found in references(value) if isinstance(value, str) else []:
                engine = ENGINES.get(engines.get(found.store, ""))
                if found.field != "dotnet" or found.connection not in known or engine is None:
                    continue
                if type(engine).dotnet is Engine.dotnet:
                    why = f"'${{{found.text}}}' is for mssql, and '{found.store}' is {engine.name}"
                    remedy = "use its 'url', or put the text together of its other fields"
                    yield Mistake(f"{place}.{section}.{variable}", why, remedy)


def _check_commands(place: str, workload: Workload, known: Collection[str]) -> Iterator[Mistake]:
    """What stands in a command, where the number of jobs alone is put in."""
    commands: dict[str, Iterable[object]] = {
        "entrypoint": workload.entrypoint,
        "command": workload.command,
        "healthcheck.test": workload.healthcheck.test if workload.healthcheck else (),
    }
    for key, texts in commands.items():
        for position, text in enumerate(texts):
            at = f"{place}.{key}[{position}]"
            for found in references(text) if isinstance(text, str) else []:
                text = f"${{{found.text}}}"
                if text == CONCURRENCY and workload.concurrency is None:
                    yield Mistake(at, _NO_CONCURRENCY, "set the workload's 'concurrency'")
                # A shell knows no dots: anything else is its own.
                elif found.connection in known or found.store == GENERATED:
                    why = f"'{text}' stays as it is: commands can be read by everybody"
                    remedy = "put it into a variable of 'environment' or 'secrets'"
                    yield Mistake(at, why, remedy)


def _check_dependencies(
    at: str,
    name: str,
    workload: Workload,
    services: Mapping[str, Workload],
    connections: Collection[str],
    elsewhere: Collection[str],
    disabled: Mapping[str, str],
) -> Iterator[Mistake]:
    # A database is ready when its store is.
    known = {*services, *elsewhere, *(key for key in connections if "." not in key)} - {name}
    for other, condition in workload.depends_on.items():
        where = f"{at}.depends_on.{other}"
        if other == name:
            continue  # the smallest circle
        if other in disabled:
            why = f"'{other}' is not a part of this stack: {disabled[other]}"
            remedy = "switch its profile on, or remove the dependency"
            if disabled[other] != PROFILE_OFF:
                remedy = "remove the dependency"
            yield Mistake(where, why, remedy)
            continue
        if other not in known:
            yield Mistake(where, f"there is no '{other}' in this system", nearest(other, known))
            continue
        needed = services.get(other)
        if other in elsewhere:
            continue  # what it is, is not known here
        if needed and needed.on_demand:
            why = f"'{other}' runs only when somebody asks for it: nobody can wait for it"
            yield Mistake(where, why, "remove the dependency, or its 'on_demand'")
        elif needed is None:  # a store: it always has a health check, and it doesn't end
            if condition is Condition.SERVICE_COMPLETED:
                yield Mistake(
                    where, f"'{other}' is a store and never completes", "use service_healthy"
                )
        elif condition is Condition.SERVICE_HEALTHY and not needed.tells_health:
            yield Mistake(
                where,
                f"'{other}' has no healthcheck, so it can never be healthy",
                "give it one, or use service_started",
            )
        elif condition is Condition.SERVICE_COMPLETED and not needed.job:
            yield Mistake(
                where, f"'{other}' is not a job, so it never completes", "set its job to true"
            )
        elif condition is not Condition.SERVICE_COMPLETED and needed.job:
            why = f"'{other}' is a job: it ends, and is neither up nor healthy then"
            yield Mistake(where, why, "use service_completed_successfully")


def _check_external_volumes(
    place: str, system: System, services: Mapping[str, Workload]
) -> Iterator[Mistake]:
    """Whether somebody makes the volumes that others use too."""
    workloads = {**services, **edges_workloads(system, Target.DOCKER)}
    for name, store in system.stores.items():
        if (engine := ENGINES.get(store.engine)) and not engine.check(store):
            workloads[name] = engine.workload(name, store)
    made = [
        volume.name for item in workloads.values() for volume in item.volumes if not volume.external
    ]
    for name, workload in services.items():
        for position, volume in enumerate(workload.volumes):
            if volume.external and volume.name not in made:
                why = f"nothing of this system makes the volume '{volume.name}'"
                remedy = (
                    f"remove 'external', and this service makes it; {nearest(volume.name, made)}"
                )
                yield Mistake(f"{place}.{name}.volumes[{position}].external", why, remedy)


def _check_queues(
    place: str, workloads: Mapping[str, Workload], stores: Mapping[str, Store], target: Target
) -> Iterator[Mistake]:
    """Whether queues are where nothing is thrown away (NF-10)."""
    for name, workload in workloads.items():
        if workload.queue is None:
            continue
        at = f"{place}.{name}.queue"
        store = stores.get(workload.queue)
        if store is None:
            why = f"there is no store '{workload.queue}' in this system"
            yield Mistake(at, why, nearest(workload.queue, stores))
        elif engine := ENGINES.get(store.engine):
            wrong = [Mistake(at, why, what) for why, what in engine.check_queue(store)]
            yield from wrong
            if workload.autoscale and target is not Target.DOCKER and not wrong:
                yield from check_scaler(f"{place}.{name}", engine, workload.autoscale)


def _check_cycles(place: str, services: Mapping[str, Workload]) -> Iterator[Mistake]:
    graph = {
        name: [other for other in workload.depends_on if other in services]
        for name, workload in services.items()
    }
    while True:
        try:
            TopologicalSorter(graph).prepare()
        except CycleError as error:
            circle: list[str] = error.args[1][::-1]  # each depends on the next
            why = f"a circle: {' -> '.join(circle)}"
            yield Mistake(f"{place}.{circle[0]}.depends_on", why, "remove one of them")
            graph[circle[0]].remove(circle[1])
        else:
            return


_PLACEHOLDERS = re.compile(
    r"change[_-]?(this|me|it)|^(seu|sua)[_-]|your[_-]|senha|placeholder|example|password|passw0rd"
    r"|secret|aleatoria|^dev-|ocolecionador@2025|^(admin|postgres|root|test)+$|^\$?\{|^<.*>$",
    re.IGNORECASE,
)


def placeholder(password: str) -> str | None:
    """Why it cannot be anybody's real one."""
    if _PLACEHOLDERS.search(password) and not is_unknown(password):
        return "the password is a placeholder or a documented sample"
    return None


def weakness(password: str) -> str | None:
    """Why a password cannot go to production. The password is never repeated."""
    if is_unknown(password):
        return None
    if why := placeholder(password):
        return why
    steps = {ord(after) - ord(before) for before, after in pairwise(password)}
    if len(password) < 16:
        return f"the password has only {len(password)} characters"
    if len(set(password)) < 8:
        return f"the password has only {len(set(password))} different characters"
    if len(steps) < 5:
        return "the password is a row of characters that anybody would try"
    return None


def check_secret(place: str, engine: Engine, name: str, value: object) -> Iterator[Mistake]:
    """What the store's own server would refuse of it."""
    if isinstance(value, str) and value and not is_unknown(value):
        yield from (Mistake(place, why, remedy) for why, remedy in engine.check_secret(name, value))


def check_password(
    place: str, password: object, environment: Environment | None
) -> Iterator[Mistake]:
    """The password of a user of a store. An Output's value is not known here."""
    if not isinstance(password, str):
        return
    remedy = "remove it to have one generated, or set a random one of 16 characters or more"
    if not password:
        yield Mistake(place, "the password is empty", remedy)
    elif not password.isprintable():
        yield Mistake(place, "the password holds a line break or the like", remedy)
    elif environment is Environment.PRODUCTION and (why := weakness(password)):
        yield Mistake(place, why, remedy)


def _check_literal_secrets(system: System) -> Iterator[Mistake]:
    for name, workload in system.workloads.items():
        sections: dict[str, Mapping[str, object]] = {
            "secrets": workload.secrets,
            "secret_files": workload.secret_files,
            "init.secrets": workload.init.secrets if workload.init else {},
        }
        for section, values in sections.items():
            for key, value in values.items():
                if section == "secrets" and key in workload.stack_secrets:
                    continue  # the stack's own: judged in tiers:secrets
                # Several lines are a file, such as a server's settings, and no password.
                if not isinstance(value, str) or references(value) or "\n" in value.strip():
                    continue
                # Whom alerts are sent through, chooses the password by itself.
                others = name in system.watchers
                if why := placeholder(value) if others else weakness(value):
                    place = f"{system.name}: services.{name}.{section}.{key}"
                    remedy = "set the real one, random and of 16 characters or more"
                    yield Mistake(place, why, "set the real one" if others else remedy)
