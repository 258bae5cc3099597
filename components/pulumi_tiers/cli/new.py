"""`tiers new`: answers, from options or from a terminal, become the folder of a new program."""

import os
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import typer
from pydantic import TypeAdapter, ValidationError

from pulumi_tiers.checks import check_systems
from pulumi_tiers.cli.console import err
from pulumi_tiers.cli.starter import PRODUCTION, Service, Starter, databases
from pulumi_tiers.engines import ENGINES
from pulumi_tiers.model.base import Name, PortNumber
from pulumi_tiers.model.errors import DescriptionError, Mistake, mistakes_of, nearest, shown
from pulumi_tiers.model.image import ImageReference
from pulumi_tiers.model.store import Store
from pulumi_tiers.model.system import Environment, System, Target
from pulumi_tiers.model.workload import Port, Workload

EXAMPLE = "--service web=ghcr.io/example/web:1.0 --port web=8000 --store postgres"
_NAME: TypeAdapter[Any] = TypeAdapter(Name)
_IMAGE: TypeAdapter[Any] = TypeAdapter(ImageReference)
_PORT: TypeAdapter[Any] = TypeAdapter(PortNumber)


@dataclass(frozen=True)
class Options:
    """The answers as they are written: ``web=ghcr.io/example/web:1.0``, ``web=8000``."""

    name: str = ""
    services: tuple[str, ...] = ()
    ports: tuple[str, ...] = ()
    stores: tuple[str, ...] = ()
    target: str = ""


def make(folder: Path, options: Options, *, ask: bool) -> list[Path]:
    """Writes the starter program and returns its files. Raises DescriptionError with all mistakes.

    With `ask`, and a terminal to ask on: what no option says is asked for.
    """
    place = folder.resolve()
    if ask and not options.services and _somebody_is_there():
        _, wrong = read(options, "app")
        if wrong := [*_refusals(folder, place), *wrong]:
            raise DescriptionError(wrong)
        options = _ask(options, place.name)
    starter, wrong = read(options, place.name)
    if not options.services:
        remedy = f"give one or more: tiers new {folder} {EXAMPLE}"
        wrong.append(Mistake("--service", "is missing, and there is nobody to ask", remedy))
    if wrong := [*_refusals(folder, place), *wrong]:
        raise DescriptionError(wrong)
    files = starter.files()
    _write(place, files)
    return [folder / name for name in files]


# --- reading --------------------------------------------------------------------------------------


def read(options: Options, name: str) -> tuple[Starter, list[Mistake]]:
    """What the options say, and all that is wrong with it. `name`: where they give none."""
    name = options.name or name
    wrong = _wrong(_NAME, name, f"--name {name}")
    images: dict[str, str] = {}
    for text in options.services:
        wrong += _read_service(text, images)
    ports: dict[str, list[int]] = {service: [] for service in images}
    for text in options.ports:
        wrong += _read_port(text, ports)
    stores: dict[str, str] = {}
    for text in options.stores:
        wrong += _read_store(text, stores)
    production = Target.KUBERNETES
    if options.target in tuple(Target):
        production = Target(options.target)
    elif options.target:
        why = f"{shown(options.target)} is not a target of a new program"
        wrong.append(Mistake("--target", why, nearest(options.target, Target)))
    services = {key: Service(image, tuple(ports[key])) for key, image in images.items()}
    starter = Starter(name, services, stores, production, version("pulumi-tiers"))
    return starter, wrong or list(_clashes(starter))


def _read_service(text: str, images: dict[str, str]) -> list[Mistake]:
    place = f"--service {text}"
    name, equals, image = text.partition("=")
    if not equals:
        remedy = "write NAME=IMAGE, such as web=ghcr.io/example/web:1.0"
        return [Mistake(place, "this names no image", remedy)]
    wrong = [*_named(name, place, images), *_wrong(_IMAGE, image, place)]
    images[name] = image
    return wrong


def _read_port(text: str, ports: Mapping[str, list[int]]) -> list[Mistake]:
    place = f"--port {text}"
    name, equals, number = text.partition("=")
    if not equals:
        remedy = f"write NAME=PORT, such as {next(iter(ports), 'web')}=8000"
        return [Mistake(place, "this names no service", remedy)]
    if name not in ports:
        return [Mistake(place, f"there is no service {shown(name)}", nearest(name, ports))]
    if not (number.isascii() and number.isdecimal() and len(number) < 10):
        return [Mistake(place, f"{shown(number)} is not a port", "use 1 to 65535")]
    if wrong := _wrong(_PORT, int(number), place):
        return wrong
    if int(number) in ports[name]:
        return [Mistake(place, "this port was given already", "give it once")]
    ports[name].append(int(number))
    return []


def _read_store(text: str, stores: dict[str, str]) -> list[Mistake]:
    place = f"--store {text}"
    name, equals, engine = text.partition("=")
    engine = engine if equals else name
    if engine not in ENGINES:
        return [Mistake(place, f"there is no engine {shown(engine)}", nearest(engine, ENGINES))]
    wrong = _named(name, place, stores)
    stores[name] = engine
    return wrong


def _named(name: str, place: str, others: Mapping[str, str]) -> list[Mistake]:
    if name in others:
        return [Mistake(place, f"the name '{name}' was given already", "choose another")]
    return _wrong(_NAME, name, place)


def _wrong(kind: TypeAdapter[Any], value: object, place: str) -> list[Mistake]:
    try:
        kind.validate_python(value)
    except ValidationError as error:
        return mistakes_of(error, place)
    return []


def _clashes(starter: Starter) -> Iterator[Mistake]:
    """What only the whole shows: each part is valid by itself."""
    system = System(
        name=starter.name,
        title=starter.name,
        environment=Environment.DEVELOPMENT,
        stores={
            name: Store(engine=engine, databases=databases(starter.name, engine))
            for name, engine in starter.stores.items()
        },
        services={
            name: Workload(
                image=service.image,
                ports=[
                    Port(target=port, published=starter.published[name, port])
                    for port in service.ports
                ],
            )
            for name, service in starter.services.items()
        },
    )
    # Every program can run on the first two.
    for target in dict.fromkeys([Target.DOCKER, Target.KUBERNETES, starter.production]):
        yield from check_systems([system], target, stack=PRODUCTION)


# --- asking ---------------------------------------------------------------------------------------


def _somebody_is_there() -> bool:
    return err.is_terminal and sys.stdin.isatty()


def _ask(options: Options, folder: str) -> Options:
    """Asks for services, and for what else the options don't say."""
    if not options.name:
        usual = "app" if _wrong(_NAME, folder, "") else folder
        name = _answer("Name of the system", lambda it: replace(options, name=it), usual)
        options = replace(options, name=name)
    text, usual = "Name of a service", "web"
    while more := _ask_service(options, text, usual):
        options, text, usual = more, "Name of another service (empty: no more)", ""
    if not options.stores:
        text = f"A store, of the engine {' or '.join(sorted(ENGINES))} (empty: none)"
        while more := _ask_store(options, text):
            options, text = more, "Another store (empty: no more)"
    if not options.target:
        text = f"Where the stack prod runs: {' or '.join(Target)}"
        target = _answer(text, lambda it: replace(options, target=it), Target.KUBERNETES)
        options = replace(options, target=target)
    return options


def _ask_service(options: Options, text: str, usual: str) -> Options | None:
    """The options with one more service; None: no more."""

    def with_image(image: str) -> Options:
        return replace(options, services=(*options.services, f"{name}={image}"))

    def with_port(port: str) -> Options:
        return replace(chosen, ports=(*chosen.ports, f"{name}={port}"))

    def named(name: str) -> Options:
        return replace(options, services=(*options.services, f"{name}=any"))

    if not (name := _answer(text, named, usual)):
        return None
    chosen = with_image(_answer(f"Image of {name}, such as ghcr.io/example/web:1.0", with_image))
    port = _answer(f"Port that {name} listens on (empty: none)", with_port, "")
    return with_port(port) if port else chosen


def _ask_store(options: Options, text: str) -> Options | None:
    def with_store(store: str) -> Options:
        return replace(options, stores=(*options.stores, store))

    store = _answer(text, with_store, "")
    return with_store(store) if store else None


def _answer(text: str, answered: Callable[[str], Options], usual: str | None = None) -> str:
    """Asks until the options are right with the answer. Where `usual` is empty, so it may be."""

    def checked(given: str) -> str:
        answer = given.strip()
        wrong = read(answered(answer), "app")[1] if answer or usual != "" else []
        if wrong:
            told = {f"{mistake.why}\n    {mistake.remedy}" for mistake in wrong}
            raise typer.BadParameter("\n".join(sorted(told)))
        return answer

    return str(typer.prompt(text, usual, value_proc=checked, show_default=bool(usual), err=True))


# --- writing --------------------------------------------------------------------------------------


def _refusals(folder: Path, place: Path) -> Iterator[Mistake]:
    if not place.exists():
        if not place.parent.is_dir():
            yield Mistake(str(folder), f"there is no folder {place.parent}", "make it first")
    elif not place.is_dir():
        yield Mistake(str(folder), "this is not a folder", "choose another")
    elif any(path.name != ".git" for path in place.iterdir()):
        yield Mistake(str(folder), "the folder is not empty", "choose another, or empty it")


def _write(place: Path, files: Mapping[str, str]) -> None:
    """All of the files or none: written into a draft on the same disk, then moved."""
    there = place.is_dir()
    draft = (place if there else place.parent) / f".tiers-new.{os.getpid()}"
    draft.mkdir()
    try:
        for name, text in files.items():
            path = draft / name
            path.parent.mkdir(exist_ok=True)
            path.write_text(text, encoding="utf-8")
        if there:
            _move(draft, place)
        else:
            draft.rename(place)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _move(draft: Path, place: Path) -> None:
    """Moves what a folder holds: the other one stays the one that somebody's shell is in."""
    moved: list[str] = []
    try:
        for path in sorted(draft.iterdir()):
            path.rename(place / path.name)
            moved.append(path.name)
    except BaseException:
        for name in moved:
            (place / name).rename(draft / name)
        raise
