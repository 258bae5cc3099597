"""The `tiers` command."""

import json
import shlex
import subprocess
import sys
import traceback
from collections.abc import Callable
from enum import StrEnum
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ParamSpec, TypeVar

import typer
from rich.markup import escape
from rich.table import Table

from pulumi_tiers.cli import docker
from pulumi_tiers.cli.console import (
    EXIT_INPUT,
    EXIT_INTERRUPTED,
    EXIT_MISSING,
    Steps,
    Stop,
    confirm,
    err,
    out,
)
from pulumi_tiers.cli.lookup import in_one_word, lookup
from pulumi_tiers.cli.runner import Runner
from pulumi_tiers.model.errors import DescriptionError

if TYPE_CHECKING:
    from pulumi_tiers.cli import actions as action_pins
    from pulumi_tiers.cli import pins
    from pulumi_tiers.cli import scale as scales
    from pulumi_tiers.cli.project import Project
    from pulumi_tiers.model.workload import Autoscale

app = typer.Typer(
    name="tiers",
    help="Describe a system once; run it on local Docker, render it for everything else.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

P = ParamSpec("P")
R = TypeVar("R")


def _for_people(command: Callable[P, R]) -> Callable[P, R]:
    """Every error that a user can cause ends in a message and an exit code, never a traceback."""

    @wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return command(*args, **kwargs)
        except (typer.Exit, typer.Abort):
            raise
        except DescriptionError as error:
            message, code = str(error), EXIT_INPUT
        except Stop as stop:
            message, code = str(stop), stop.code
        except KeyboardInterrupt:
            message = "interrupted; run the same command again to go on"
            code = EXIT_INTERRUPTED
        except OSError as error:
            message, code = (
                f"{error.strerror or error}: {error.filename or 'the operating system'}",
                1,
            )
        except Exception as error:
            # A mistake of ours, or an answer of the engine that nobody foresaw.
            place = traceback.extract_tb(error.__traceback__)[-1]
            lines = str(error).strip().splitlines() or ["no message"]
            where = f"{Path(place.filename).name}:{place.lineno}"
            message, code = f"{type(error).__name__}: {lines[-1]} ({where})", 1
        err.print(message, style="red", markup=False)
        raise typer.Exit(code)

    return run


StackOption = Annotated[
    str,
    typer.Option(
        "--stack", "-s", help="Stack: the NAME in Pulumi.NAME.yaml.", envvar="TIERS_STACK"
    ),
]
FolderOption = Annotated[
    Path, typer.Option("--cwd", "-C", help="Folder of the project.", show_default="this folder")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON, for machines.")]
HERE = Path()


def _project(folder: Path) -> "Project":
    # With it comes Pulumi: what only asks Docker begins in a third of the time.
    from pulumi_tiers.cli.project import Project

    return Project.find(folder)


@app.command()
@_for_people
def up(
    stack: StackOption = "dev",
    runner: Annotated[
        Runner, typer.Option(help="Who runs it: Pulumi's engine where it can be had, else Compose.")
    ] = Runner.AUTO,
    as_json: JsonOption = False,
    cwd: FolderOption = HERE,
) -> None:
    """Bring a stack up on local Docker and wait until all of it is healthy."""
    from pulumi_tiers.cli import stack as stacks

    steps = Steps()
    outcome = stacks.up(_project(cwd), stack, runner, steps)
    steps.say(
        "everything is healthy" if outcome.changed else "nothing to change: everything is healthy"
    )
    _print_containers(docker.containers(stack), as_json=as_json)


@app.command()
@_for_people
def down(
    stack: StackOption = "dev",
    data: Annotated[
        bool, typer.Option("--data", help="Delete the volumes and the secrets too.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Don't ask.")] = False,
    cwd: FolderOption = HERE,
) -> None:
    """Take a stack down. Volumes and secrets stay, unless --data."""
    from pulumi_tiers.cli import stack as stacks

    project = _project(cwd)
    what = "and DELETE ITS DATA" if data else "(its data stays)"
    if not yes and not confirm(f"Take stack {stack} down {what}?"):
        raise Stop("nothing was changed")
    steps = Steps()
    stacks.down(project, stack, data=data, steps=steps)
    steps.say(f"stack {stack} is down" + ("" if data else "; its volumes and secrets are kept"))


@app.command()
@_for_people
def status(stack: StackOption = "dev", as_json: JsonOption = False) -> None:
    """Show what runs: health, URLs, images. Exit code 1 if something isn't well."""
    _require_daemon()
    containers = docker.containers(stack)
    _print_containers(containers, as_json=as_json)
    if not containers and not as_json:
        err.print(_nothing(stack), markup=False)
    for container in docker.one_offs(stack):
        err.print(f"made by tiers run: {container.name} ({container.state})", markup=False)
    if not containers or not all(container.well for container in containers):
        raise typer.Exit(1)


@app.command()
@_for_people
def logs(
    service: Annotated[str, typer.Argument(help="SERVICE or SYSTEM/SERVICE; default: all.")] = "",
    stack: StackOption = "dev",
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until Ctrl-C.")] = False,
    tail: Annotated[int, typer.Option("--tail", "-n", min=0, help="Lines from the end.")] = 100,
) -> None:
    """Show the logs of one service, or of all."""
    chosen = _chosen(stack, service)
    if not service:
        chosen = [container for container in chosen if container.telling]
    if follow:
        try:
            _follow(chosen, tail)
        except KeyboardInterrupt:  # how it is meant to end
            raise typer.Exit(EXIT_INTERRUPTED) from None
        return
    for container in chosen:
        for line in docker.last_lines(container, tail):
            prefix = f"{container.name} | " if len(chosen) > 1 else ""
            out.print(f"{prefix}{line}", markup=False)


@app.command(
    name="exec", context_settings={"allow_extra_args": True, "ignore_unknown_options": True}
)
@_for_people
def exec_(
    service: Annotated[str, typer.Argument(help="SERVICE or SYSTEM/SERVICE.")],
    command: Annotated[list[str], typer.Argument(help="The command and its arguments.")],
    stack: StackOption = "dev",
) -> None:
    """Run a command in a service's container: tiers exec postgres psql -U doadmin defaultdb."""
    container = _one(stack, service)
    terminal = ["--tty"] if sys.stdin.isatty() and sys.stdout.isatty() else []
    _docker("exec", "--interactive", *terminal, container.id, *command)


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
@_for_people
def run(
    service: Annotated[
        str, typer.Argument(help="SERVICE, SYSTEM/SERVICE, or SYSTEM and SERVICE as two words.")
    ],
    command: Annotated[
        list[str] | None,
        typer.Argument(help="The command and its arguments. Default: the service's own."),
    ] = None,
    stack: StackOption = "dev",
    cwd: FolderOption = HERE,
) -> None:
    """Run one command in a container of its own, made like those of a service, then remove it."""
    from pulumi_tiers.model.system import Target

    project = _project(cwd)
    target = project.config(stack).get("tiers:target") or Target.DOCKER
    if target == Target.DOCKER:
        from pulumi_tiers.cli import one_off

        _refuse_empty(service)
        service, rest = in_one_word(service, command or [], _known(_containers(stack)))
        code = one_off.run(_one(stack, service), rest)
    else:
        from pulumi_tiers.cli import pods

        code = pods.run(project, stack, service, command or [], Steps())
    if code:
        raise typer.Exit(code)


@app.command(epilog="Example: tiers scale worker=4")
@_for_people
def scale(
    numbers: Annotated[
        list[str] | None,
        typer.Argument(metavar="[SERVICE=N]...", help="Default: shows what there is."),
    ] = None,
    stack: StackOption = "dev",
    as_json: JsonOption = False,
    cwd: FolderOption = HERE,
) -> None:
    """Say how many replicas a service has: in the stack's file, and on local Docker at once."""
    from pulumi_tiers.cli import scale as scales

    project = _project(cwd)
    if not numbers:
        _print_services(scales.table(project, stack), stack, as_json=as_json)
        return
    outcome = scales.scale(project, stack, numbers, Steps())
    if outcome.up and not as_json:
        _print_containers(docker.containers(stack), as_json=False)
        return
    _print_services(outcome.services, stack, as_json=as_json)
    if outcome.next:
        err.print(f"next: {outcome.next}", markup=False)


@app.command(epilog="Example: tiers images api=ghcr.io/example/api:1.2@sha256:... --stack prod")
@_for_people
def images(
    references: Annotated[
        list[str] | None,
        typer.Argument(metavar="[SERVICE=IMAGE]...", help="Default: shows what there is."),
    ] = None,
    deployed: Annotated[
        bool,
        typer.Option(
            "--deployed",
            help="Also write the images of the last pulumi up, where the stack's file names none.",
        ),
    ] = False,
    stack: StackOption = "dev",
    as_json: JsonOption = False,
    cwd: FolderOption = HERE,
) -> None:
    """Say which image a service has: in the stack's file, for the next up."""
    from pulumi_tiers.cli import pins

    project = _project(cwd)
    if not references and not deployed:
        _print_images(pins.table(project, stack), as_json=as_json)
        return
    outcome = pins.pin(project, stack, references or [], deployed=deployed, steps=Steps())
    _print_images(outcome.services, as_json=as_json)
    err.print(f"next: {outcome.next}", markup=False)


@app.command()
@_for_people
def restart(
    service: Annotated[str, typer.Argument(help="SERVICE or SYSTEM/SERVICE; default: all.")] = "",
    stack: StackOption = "dev",
) -> None:
    """Restart one service, or all, and wait until they are healthy."""
    from pulumi_tiers.cli import compose
    from pulumi_tiers.limits import init_name

    steps = Steps()
    chosen = [item for item in _chosen(stack, service) if not (item.job or item.on_demand)]
    first = {(item.system, init_name(item.service)) for item in chosen}
    for container in docker.containers(stack):
        if (container.system, container.service) in first:
            with steps.during(f"running {container.name}"):
                docker.run_again(container)
    for container in chosen:
        with steps.during(f"restarting {container.name}"):
            # A worker may finish its jobs first.
            patience = docker.grace(container) + 180
            answer = docker.run("restart", container.id, timeout=patience)
        if answer.returncode:
            raise Stop(f"{container.name}: {answer.stderr.strip()}")
    if not compose.wait(stack, 300, steps):
        raise Stop("not everything became healthy again: see tiers status and tiers logs")
    steps.say("everything is healthy")


class Format(StrEnum):
    """What `render` can make."""

    GRAPH = "graph"
    COMPOSE = "compose"
    KUBERNETES = "kubernetes"
    PICTURE = "picture"
    REPORT = "report"
    WORKFLOWS = "workflows"


@app.command()
@_for_people
def render(
    to: Annotated[Format, typer.Option(help="What to make.")],
    stack: StackOption = "dev",
    system: Annotated[str, typer.Option(help="One system only.")] = "",
    directory: Annotated[
        Path | None, typer.Option("--out", "-o", help="Write files into this folder.")
    ] = None,
    secrets: Annotated[
        bool,
        typer.Option("--secrets", help="Kubernetes: write the secrets' values into the YAML too."),
    ] = False,
    cwd: FolderOption = HERE,
) -> None:
    """Render a stack to files, without engine, daemon, cluster or credentials."""
    from pulumi_tiers.cli import render as renders

    overrides: dict[str, Any] = {"tiers:systems": [system]} if system else {}
    if secrets and (directory is None or to is not Format.KUBERNETES):
        raise Stop("--secrets goes with --to kubernetes and --out", EXIT_INPUT)
    secrets_in = directory if secrets else None
    rendered = renders.render(_project(cwd), stack, to.value, overrides, secrets_in)
    if directory is None:
        # Not through Rich: what is piped must arrive as it is.
        sys.stdout.write(rendered.text)
    else:
        for path in rendered.write(directory):
            err.print(f"wrote {path}", markup=False)
    for line in rendered.remarks:
        err.print(line, markup=False)


@app.command()
@_for_people
def doctor(
    stack: StackOption = "dev", as_json: JsonOption = False, cwd: FolderOption = HERE
) -> None:
    """Check what a stack needs of this machine, and how to get it. Exit code 3 if it is missing."""
    from pulumi_tiers.cli.doctor import examine

    findings = examine(_project(cwd), stack)
    if as_json:
        _print_json([finding.__dict__ for finding in findings])
    else:
        table = Table(box=None, pad_edge=False)
        for heading in ("", "what", "found", "how to fix"):
            table.add_column(heading, overflow="fold")
        for finding in findings:
            absent = "[red]missing[/red]" if finding.needed else "[yellow]optional[/yellow]"
            mark = "[green]ok[/green]" if finding.ok else absent
            texts = (finding.what, finding.found, finding.remedy)
            table.add_row(mark, *(escape(text) for text in texts))
        out.print(table)
    if any(finding.needed and not finding.ok for finding in findings):
        raise typer.Exit(EXIT_MISSING)


@app.command()
@_for_people
def actions(
    update: Annotated[
        bool, typer.Option("--update", help="Pin the newest releases of the same major versions.")
    ] = False,
    major: Annotated[
        bool, typer.Option("--major", help="With --update: of newer major versions too.")
    ] = False,
    as_json: JsonOption = False,
    cwd: FolderOption = HERE,
) -> None:
    """Check the pinned GitHub Actions against their repositories. Exit code 1 if one is wrong."""
    from pulumi_tiers.cli.actions import examine

    if major and not update:
        raise Stop("--major goes with --update", EXIT_INPUT)
    steps = Steps()
    report = examine(cwd, steps, update=update, major=major)
    if as_json:
        _print_json(report.as_json())
    else:
        _print_actions(report)
    if report.written:
        steps.say(f"wrote {report.written}: pulumi up brings it into the workflow files")
    elif update:
        steps.say("nothing to update")
    if not report.well:
        raise typer.Exit(1)


@app.command()
@_for_people
def credential(
    cluster: Annotated[str, typer.Argument(help="Id of the cluster.")],
) -> None:
    """Print a token for a cluster on DigitalOcean, as kubectl's credential plugins do."""
    from pulumi_tiers.cli.digitalocean import credential as ask

    _print_json(ask(cluster))


@app.command(
    epilog="Example: tiers new shop --service web=ghcr.io/example/web:1.0 --port web=8000"
    " --service worker=ghcr.io/example/worker:1.0 --store postgres"
)
@_for_people
def new(
    folder: Annotated[Path, typer.Argument(help="The folder to make.")],
    name: Annotated[str, typer.Option(help="Name of the system. Default: the folder's.")] = "",
    service: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=IMAGE", help="A service and its image. Repeatable."),
    ] = None,
    port: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=PORT", help="A port that a service listens on. Repeatable."),
    ] = None,
    store: Annotated[
        list[str] | None,
        typer.Option(metavar="ENGINE|NAME=ENGINE", help="postgres, or db=postgres. Repeatable."),
    ] = None,
    target: Annotated[
        str,
        typer.Option(
            metavar="docker|kubernetes|digitalocean",
            help="Where the stack prod runs (default: kubernetes). The stack dev is local Docker.",
        ),
    ] = "",
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Ask nothing.")] = False,
) -> None:
    """Write a starter program for a new system. On a terminal, asks unless a --service is given."""
    from pulumi_tiers.cli import new as starters

    options = starters.Options(
        name, tuple(service or ()), tuple(port or ()), tuple(store or ()), target
    )
    for path in starters.make(folder, options, ask=not yes):
        err.print(f"wrote {path}", markup=False)
    out.print(
        f"next:\n  cd {shlex.quote(str(folder))}\n"
        "  python3 -m venv .venv\n"
        "  .venv/bin/pip install -r requirements-dev.txt"
        "   # not found? see requirements.txt\n"
        "  .venv/bin/pytest\n"
        "  .venv/bin/tiers up",
        markup=False,
    )


# --- what several commands need -------------------------------------------------------------------


def _require_daemon() -> None:
    if docker.server_version() is None:
        reason = docker.why_not() if docker.installed() else "docker is not installed"
        raise Stop(
            f"no Docker daemon answers: {reason}\n  tiers doctor says what to do", EXIT_MISSING
        )


def _nothing(stack: str) -> str:
    """Why there are no containers: a stack that is down, or a word that names none."""
    try:
        stacks = _project(HERE).stacks
    except Stop:
        return f"nothing of stack {stack} runs here: tiers up --stack {stack}"
    if stack not in stacks:
        return f"there is no stack '{stack}' here; stacks: {', '.join(stacks)}"
    return f"nothing of stack {stack} runs here: tiers up --stack {stack}"


def _chosen(stack: str, service: str) -> list[docker.Container]:
    """The containers of a service. Raises Stop where there are none."""
    containers = _containers(stack)
    named = [item for item in containers if service in ("", item.name)]
    if named:
        return named
    telling = [item for item in containers if item.telling]
    meant = lookup(service, _known(containers), _known(telling))
    return [item for item in containers if (item.system, item.service) == meant]


def _one(stack: str, service: str) -> docker.Container:
    """The first container of a service. Raises Stop."""
    _refuse_empty(service)
    return _chosen(stack, service)[0]


def _refuse_empty(service: str) -> None:
    """Where a variable of a shell was empty, nobody means every service."""
    if not service:
        raise Stop("the service is an empty text: name one", EXIT_INPUT)


def _containers(stack: str) -> list[docker.Container]:
    _require_daemon()
    containers = docker.containers(stack)
    if not containers:
        raise Stop(_nothing(stack))
    return containers


def _known(containers: list[docker.Container]) -> set[tuple[str, str]]:
    return {(container.system, container.service) for container in containers}


def _follow(containers: list[docker.Container], tail: int) -> None:
    if len(containers) == 1:
        _docker("logs", "--follow", "--tail", str(tail), containers[0].id)
    elif code := docker.follow(containers, tail, lambda line: out.print(line, markup=False)):
        raise typer.Exit(code)


def _docker(*arguments: str) -> None:
    """Hands the terminal over to docker, and its exit code on."""
    code = subprocess.run(["docker", *arguments], check=False).returncode
    if code:
        raise typer.Exit(code)


def _print_containers(everything: list[docker.Container], *, as_json: bool) -> None:
    containers = [container for container in everything if container.telling]
    if as_json:
        _print_json(
            [
                {
                    "system": container.system,
                    "service": container.service,
                    "container": container.name,
                    "urls": list(container.urls),
                    "health": container.condition,
                    "image": container.image,
                    "stand_in": container.stand_in,
                    "unverified": container.unverified,
                }
                for container in containers
            ]
        )
        return
    if not containers:
        return
    table = Table(box=None, pad_edge=False)
    for heading in ("SERVICE", "URL", "HEALTH", "IMAGE"):
        table.add_column(heading, overflow="fold")
    for container in containers:
        colour = "green" if container.well else "red"
        table.add_row(
            escape(f"{container.system}/{container.service}"),
            escape("\n".join(container.urls) or "-"),
            f"[{colour}]{escape(container.condition)}[/{colour}]",
            escape(container.image) + (" (stand-in)" if container.stand_in else ""),
        )
    out.print(table)
    if any(container.stand_in for container in containers):
        err.print("stand-in: built here, because the documented image can't be pulled", style="dim")
    unverified = [item.name for item in containers if item.unverified and not item.stand_in]
    if unverified:
        err.print(
            f"hardening not verified with the real image: {', '.join(unverified)}", style="dim"
        )


def _print_actions(report: "action_pins.Report") -> None:
    table = Table(box=None, pad_edge=False)
    for heading in ("ACTION", "VERSION", "SHA", "RESULT", "NEWER"):
        table.add_column(heading, overflow="fold")
    for item in report.findings:
        colour = "green" if item.result == "right" else "red"
        told = ": ".join(text for text in (item.result, item.why) if text)
        newer = [pin.version for pin in (item.newer, item.newer_major) if pin]
        table.add_row(
            escape("\n".join((item.pin.name, *(f"  {place}" for place in item.places)))),
            escape(item.pin.version) + (f" (was {escape(item.was)})" if item.was else ""),
            item.pin.sha[:12],
            f"[{colour}]{escape(told)}[/{colour}]",
            escape(", ".join(newer) or "-"),
        )
    out.print(table)
    for entry in report.unpinned:
        out.print(f"not pinned: {entry.place}: {entry.why}", style="red", markup=False)


def _print_services(services: "list[scales.Service]", stack: str, *, as_json: bool) -> None:
    running = docker.containers(stack) if docker.server_version() else []
    rows = [
        {
            "system": item.system,
            "service": item.name,
            "replicas": item.replicas,
            "concurrency": item.concurrency,
            "autoscale": _autoscale(item.autoscale) if item.autoscale else None,
            "healthy_here": sum(
                (container.system, container.service) == (item.system, item.name)
                for container in running
                if container.well
            ),
        }
        for item in services
    ]
    if as_json:
        _print_json(rows)
        return
    table = Table(box=None, pad_edge=False)
    for heading in ("SERVICE", "REPLICAS", "CONCURRENCY", "HEALTHY HERE"):
        table.add_column(heading, overflow="fold")
    for item, row in zip(services, rows, strict=True):
        many = item.autoscale
        table.add_row(
            escape(item.key),
            f"{many.min} to {many.max}" if many else str(item.replicas),
            str(item.concurrency or "-"),
            str(row["healthy_here"]),
        )
    out.print(table)


def _print_images(services: "list[pins.Service]", *, as_json: bool) -> None:
    if as_json:
        _print_json(
            [
                {
                    "system": item.system,
                    "service": item.name,
                    "image": item.image,
                    "why": item.why,
                    "described": item.described,
                }
                for item in services
            ]
        )
        return
    table = Table(box=None, pad_edge=False)
    for heading in ("SERVICE", "IMAGE", "WHY"):
        table.add_column(heading, overflow="fold")
    for item in services:
        table.add_row(escape(item.key), escape(item.image or "-"), item.why)
    out.print(table)


def _autoscale(given: "Autoscale") -> dict[str, object]:
    """What decides, and the numbers."""
    decides = {"cpu": given.percent} if given.percent else {}
    return {**given.model_dump(exclude_none=True), **decides}


def _print_json(value: object) -> None:
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    app()
