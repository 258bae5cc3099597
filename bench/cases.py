"""What is measured. Each case takes its sides in turn within every run: A B C, then B C A."""

import json
import secrets
import socket
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pulumi_tiers.cli import docker
from pulumi_tiers.cli import project as projects
from pulumi_tiers.cli.engine import Engine
from pulumi_tiers.cli.images import wanted

from bench import compose, same
from bench.figures import Comparison, Measure, Row, Samples, rows
from bench.workplace import TIERS, MeasureError, Project, Workplace
from bench.written import written
from offline.build import stand_in_name
from tests.cluster import Cluster, NoClusterError, why_no_cluster

FLAT = "flat program"
IMAGES = (
    "marcospaulo1991/encontros-tech:develop",
    "standin.local/marcospaulo1991/encontros-tech:develop",
    "postgres:15",
    "standin.local/postgres:15",
)
"""What a machine has after `make up`; the chain needs nothing of it but `sleep` and `true`."""
INSTANCES = (1, 10, 50)


@dataclass(frozen=True)
class Machine:
    """What there is to measure with. The texts say what is missing; empty: nothing."""

    engine: str
    daemon: str
    image: str
    compose: compose.Tool | None
    no_compose: str
    no_cluster: str

    @classmethod
    def examine(cls, image: str, *, with_compose: bool) -> "Machine":
        tool, no_compose = compose.find() if with_compose else (None, "not asked for")
        daemon = "" if docker.server_version() else f"no Docker daemon: {docker.why_not()}"
        chosen = image or next((name for name in IMAGES if docker.has_image(name)), "")
        no_cluster = Engine.find(("kubernetes", "random"))[1] or why_no_cluster()
        return cls(Engine.find()[1], daemon, chosen, tool, no_compose, no_cluster)

    @property
    def no_containers(self) -> str:
        """Why no container can be started here."""
        no_image = f"no image {' or '.join(IMAGES)}: run make up, or give --image"
        return self.daemon or ("" if self.image else no_image)


@dataclass(frozen=True)
class Run:
    """What a case gets."""

    place: Workplace
    machine: Machine
    runs: int
    instances: tuple[int, int, int]

    def rounds(self, case: str, *sides: Callable[[], None]) -> None:
        """Every side once per round. Another side begins each time: none is always the last."""
        for number in range(self.runs if sides else 0):
            sys.stderr.write(f"{case}: run {number + 1} of {self.runs}\n")
            first = number % len(sides)
            for side in (*sides[first:], *sides[:first]):
                side()


# --- the chain: health intervals dominate ---------------------------------------------------------

_CHAIN = (
    Comparison("up, level by level", "ours up", "flat up", FLAT, 1.15),
    Comparison("up, level by level", "ours up", "compose up", "compose"),
    Comparison("up, started at once", "ours up-at-once", "flat up-at-once", FLAT, 1.15),
    Comparison(
        "up, started at once", "ours up-at-once", "compose up", "compose, level by level", 0.85
    ),
    Comparison("up, started at once", "ours up-at-once", "compose up-at-once", "compose, at once"),
    Comparison("up, nothing changed", "ours no-op", "flat no-op", FLAT, 1.15),
    Comparison("up, nothing changed", "ours no-op", "compose no-op", "compose"),
    Comparison("preview, nothing changed", "ours preview", "flat preview", FLAT, 1.15),
    Comparison("tiers render --to compose", "ours render", "ours preview", "our preview", 0.5),
    Comparison("destroy", "ours destroy", "flat destroy", FLAT, 1.15),
    Comparison("destroy", "ours destroy", "compose destroy", "compose"),
)


def chain(run: Run) -> list[Row]:
    """Seven containers in three levels, health interval 1 s."""
    missing: dict[str, str] = {}
    if why := run.machine.engine or run.machine.no_containers:
        missing = {"ours": why, "flat": why}
    if why := run.machine.no_compose or run.machine.no_containers:
        missing["compose"] = why
    samples = Samples()
    sides: list[Callable[[], None]] = []
    for gated in (True, False):
        suffix = "" if gated else "-at-once"
        config = _config(run, gated=gated, interval="1s")
        ours = run.place.project("chain", f"ours{suffix}", config)
        flat = run.place.project("chain_flat", f"flat{suffix}", config)
        same.check(ours, flat)
        if "ours" not in missing:
            sides += [
                _life(ours, "ours", suffix, samples, run.place.root / "rendered"),
                _life(flat, "flat", suffix, samples),
            ]
        if "compose" not in missing:
            sides.append(_compose_life(run, config, suffix, samples))
    run.rounds("chain", *sides)
    return rows(_with_compose(_CHAIN, run.machine.compose), samples, missing)


def _config(run: Run, *, gated: bool, interval: str) -> dict[str, str]:
    return {
        "image": run.machine.image or IMAGES[0],
        "gated": json.dumps(gated),
        "interval": interval,
    }


def _life(
    project: Project,
    side: str,
    suffix: str,
    samples: Samples,
    rendered: Path | None = None,
    *,
    to: str = "compose",
) -> Callable[[], None]:
    project.init()

    def live() -> None:
        samples.add(f"{side} up{suffix}", project.up())
        if not suffix:
            samples.add(f"{side} no-op", project.unchanged())
            samples.add(f"{side} preview", project.preview())
            if rendered:
                samples.add(f"{side} render", project.render(rendered, to))
        samples.add(f"{side} destroy{suffix}", project.destroy())

    return live


def _compose_life(
    run: Run,
    config: dict[str, str],
    suffix: str,
    samples: Samples,
    name: str = "compose",
    program: str = "chain",
) -> Callable[[], None]:
    assert run.machine.compose is not None
    project = run.place.project(program, f"{name}{suffix}", config)
    project.render(project.folder)
    rendered = compose.Rendered(run.place, run.machine.compose, project.folder, project.stack)

    def live() -> None:
        samples.add(f"compose up{suffix}", rendered.up())
        if not suffix:
            samples.add("compose no-op", rendered.up())
        samples.add(f"compose destroy{suffix}", rendered.down())

    return live


def _with_compose(comparisons: Sequence[Comparison], tool: compose.Tool | None) -> list[Comparison]:
    """Which Docker Compose it is."""
    name = str(tool or "Docker Compose")
    return [replace(item, against=item.against.replace("compose", name)) for item in comparisons]


# --- the same chain with longer health intervals --------------------------------------------------

_SLOW = (
    Comparison(
        "up, at once, health interval 5 s",
        "ours up-at-once",
        "compose up",
        "compose, level by level",
        0.85,
    ),
)


def slow_health(run: Run) -> list[Row]:
    """Health interval 5 s: half of the shortest that the documented systems state (10 s, 30 s)."""
    missing: dict[str, str] = {}
    if why := run.machine.engine or run.machine.no_containers:
        missing["ours"] = why
    if why := run.machine.no_compose or run.machine.no_containers:
        missing["compose"] = why
    samples = Samples()
    if not missing:
        ours = run.place.project("chain", "slow", _config(run, gated=False, interval="5s"))
        gated = _config(run, gated=True, interval="5s")
        run.rounds(
            "slow-health",
            _life(ours, "ours", "-at-once", samples),
            _compose_life(run, gated, "", samples, name="slow-compose"),
        )
    return rows(_with_compose(_SLOW, run.machine.compose), samples, missing)


# --- documented systems ---------------------------------------------------------------------------

_SYSTEMS = ("nutrifitcoach", "pigmeu")
#: What they publish in development, without the offset.
_PORTS = (80, 443, 3000, 5432, 5601, 6379, 8000, 8080, 9090, 9093, 9200, 27017)


def systems(run: Run) -> list[Row]:
    """Two whole systems in development, with stand-ins for images that cannot be pulled."""
    return [row for name in _SYSTEMS for row in _system(run, name)]


def _system(run: Run, name: str) -> list[Row]:
    images, no_images = _stand_ins(run, f"see-{name[:3]}", {"tiers:systems": json.dumps([name])})
    machine = run.machine
    missing: dict[str, str] = {}
    if why := machine.engine or machine.daemon or no_images:
        missing = {"ours": why, "flat": why}
    if why := machine.no_compose or machine.daemon or no_images:
        missing["compose"] = why
    config = {
        "tiers:systems": json.dumps([name]),
        "tiers:images": json.dumps(images),
        "tiers:port_offset": str(_free_offset()),
    }
    if name == "nutrifitcoach":
        # Not the documented network: another stack on this machine may have it.
        config["tiers:subnets"] = json.dumps({name: f"10.{64 + secrets.randbelow(128)}.0.0/16"})
    short = name[:3]
    ours = run.place.project("system", f"ours-{short}", config)
    flat = _written(run, f"flat-{short}", config)
    same.check(ours, flat)
    samples = Samples()
    sides: list[Callable[[], None]] = []
    if "ours" not in missing:
        rendered = run.place.root / f"rendered-{short}"
        sides = [_life(ours, "ours", "", samples, rendered), _life(flat, "flat", "", samples)]
    if "compose" not in missing:
        sides.append(_compose_life(run, config, "", samples, f"comp-{short}", "system"))
    run.rounds(name, *sides)
    comparisons = [
        replace(item, what=f"{name}: {item.what}")
        for item in _with_compose(_OF_A_SYSTEM, machine.compose)
    ]
    return rows(comparisons, samples, missing)


_OF_A_SYSTEM = (
    Comparison("up", "ours up", "flat up", FLAT, 1.15),
    Comparison("up, nothing changed", "ours no-op", "flat no-op", FLAT, 1.15),
    Comparison("preview, nothing changed", "ours preview", "flat preview", FLAT, 1.15),
    Comparison("tiers render --to compose", "ours render", "ours preview", "our preview", 0.5),
    Comparison("destroy", "ours destroy", "flat destroy", FLAT, 1.15),
    Comparison("up", "ours up", "compose up", "compose"),
    Comparison("up, nothing changed", "ours no-op", "compose no-op", "compose"),
    Comparison("destroy", "ours destroy", "compose destroy", "compose"),
)


def _written(run: Run, stack: str, config: dict[str, str]) -> Project:
    """A flat program of what our own registers under that stack's name."""
    source = run.place.project("system", stack, config)
    recording = projects.Project.find(source.folder).record(source.stack)
    resources = source.folder / "resources.json"
    resources.write_text(json.dumps(written(recording)), encoding="utf-8")
    return run.place.project("system_flat", stack, {"resources": str(resources)})


def _stand_ins(run: Run, stack: str, config: Mapping[str, str]) -> tuple[dict[str, str], str]:
    """``<system>/<service>`` -> image, and which of them this machine doesn't have."""
    plain = run.place.project("system", stack, config)
    documented = wanted(projects.Project.find(plain.folder).record(plain.stack))
    images = {key: stand_in_name(image.reference) for key, image in documented.items()}
    absent = {
        image.reference
        for key, image in documented.items()
        if not run.machine.daemon and not docker.has_image(images[key])
    }
    missing = f"no stand-ins: run offline/build.py {' '.join(sorted(absent))}" if absent else ""
    return images, missing


def _free_offset() -> int:
    """For the ports of every side: only one is up at a time."""
    while True:
        offset = 10_000 + secrets.randbelow(20_000)
        if all(_is_free(port + offset) for port in _PORTS):
            return offset


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


# --- deploy times that a document promises --------------------------------------------------------

#: Vision's document: less than 5 minutes in development, 10 in production. In seconds.
_DEPLOYS = {"development": 300, "production": 600}


def deploy(run: Run) -> list[Row]:
    """Vision from nothing to healthy by `tiers up`: stand-ins, which are on the machine already."""
    return [row for environment in _DEPLOYS for row in _deploy(run, environment)]


def _deploy(run: Run, environment: str) -> list[Row]:
    wants = {"tiers:systems": json.dumps(["vision"]), "tiers:environment": environment}
    if environment == "production":  # where it demands a certificate
        wants["tiers:tls"] = json.dumps({"vision": {"mode": "self_signed"}})
    short = environment[:4]  # stacks' names have at most 20 characters, with the place's own
    images, no_images = _stand_ins(run, f"see-{short}", wants)
    why = run.machine.engine or run.machine.daemon or no_images
    limit = _DEPLOYS[environment]
    comparison = Comparison(
        f"vision, {environment}: tiers up, from nothing to healthy",
        "ours",
        "documented",
        f"documented: less than {limit // 60} minutes",
        1.0,
    )
    samples = Samples()
    if not why:
        config = {
            **wants,
            "tiers:images": json.dumps(images),
            "tiers:port_offset": str(_free_offset()),
        }
        project = run.place.project("system", f"vis-{short}", config)

        def tiers(*command: str) -> float:
            which = (TIERS, *command, "--stack", project.stack)
            return run.place.run(*which, cwd=project.folder, seconds=3 * limit)

        def live() -> None:
            samples.add("ours", tiers("up", "--runner", "pulumi"))
            samples.add("documented", limit)
            tiers("down", "--data", "--yes")

        run.rounds(f"deploy, {environment}", live)
    return rows([comparison], samples, {"ours": why} if why else {})


# --- imports --------------------------------------------------------------------------------------

_COMPONENTS = (
    "site",
    "data_tier",
    "app_tier",
    "ml_tier",
    "edge_proxy",
    "ci_pipeline",
    "observability.component",
    "cluster",
)


def imports(run: Run) -> list[Row]:
    """What a program that uses every component pays for importing them."""
    modules = [f"pulumi_tiers.{name}" for name in _COMPONENTS]
    samples = Samples()

    def importing(name: str, *modules: str) -> Callable[[], None]:
        def take() -> None:
            samples.add(name, run.place.run(sys.executable, "-c", f"import {', '.join(modules)}"))

        return take

    sides = (importing("ours", "pulumi", *modules), importing("pulumi", "pulumi"))
    for side in sides:  # writes the compiled modules, and warms the file cache
        side()
    samples.values.clear()
    # They are short, so each run takes several.
    run.rounds("import", *(sides * 3))
    comparison = Comparison(
        f"import of the {len(modules)} public components",
        "ours",
        "pulumi",
        "import pulumi",
        0.15,
        Measure.DIFFERENCE,
    )
    return rows([comparison], samples, {})


# --- many instances -------------------------------------------------------------------------------


def instances(run: Run) -> list[Row]:
    """What one more small system costs, when there are few and when there are many."""
    few, some, many = run.instances
    missing: dict[str, str] = {}
    if why := run.machine.engine or run.machine.daemon:
        missing = {"preview": why, "flat": why}
    samples = Samples()
    sides: list[Callable[[], None]] = []

    def timed(name: str, command: Callable[[], float]) -> Callable[[], None]:
        return lambda: samples.add(name, command())

    for count in run.instances:
        config = {"instances": str(count)}
        ours = run.place.project("small", f"small{count}", config)
        flat = run.place.project("small_flat", f"flat{count}", config)
        same.check(ours, flat)
        out = run.place.root / f"rendered{count}"
        sides.append(timed(f"render {count}", lambda ours=ours, out=out: ours.render(out)))
        if not missing:
            for name, project in (("preview", ours), ("flat", flat)):
                project.init()
                sides.append(timed(f"{name} {count}", project.preview))
    run.rounds("instances", *sides)
    comparisons = [
        Comparison(
            f"preview of {some} small systems", f"preview {some}", f"flat {some}", FLAT, 1.15
        ),
        Comparison(
            f"preview of {many} small systems", f"preview {many}", f"flat {many}", FLAT, 1.15
        ),
    ]
    # The SDK's own share in it: what the flat program pays, without a promise.
    for name, what, target in (
        ("preview", "preview", 1.15),
        ("flat", "preview, flat program", None),
        ("render", "render --to compose", 1.15),
    ):
        if name not in missing:
            first, middle, last = (samples.values[f"{name} {count}"] for count in run.instances)
            for a, b, c in zip(first, middle, last, strict=True):
                samples.add(f"{name} late", (c - b) / (many - some))
                samples.add(f"{name} early", (b - a) / (some - few))
        comparisons.append(
            Comparison(
                f"{what}: each of {some} to {many}",
                f"{name} late",
                f"{name} early",
                f"each of {few} to {some}",
                target,
            )
        )
    return rows(comparisons, samples, missing)


# --- Kubernetes -----------------------------------------------------------------------------------

_KUBERNETES = (
    Comparison("up on Kubernetes", "ours up", "flat up", FLAT, 1.15),
    Comparison("up on Kubernetes, nothing changed", "ours no-op", "flat no-op", FLAT, 1.15),
    Comparison(
        "preview on Kubernetes, nothing changed", "ours preview", "flat preview", FLAT, 1.15
    ),
    Comparison("tiers render --to kubernetes", "ours render", "ours preview", "our preview", 0.5),
    Comparison("destroy on Kubernetes", "ours destroy", "flat destroy", FLAT, 1.15),
)


def kubernetes(run: Run) -> list[Row]:
    """A database and three services on the tests' cluster, whose pods take no time to start."""
    cluster, why = _cluster(run)
    config = {"kubernetes:kubeconfig": str(cluster.kubeconfig)} if cluster else {}
    ours = run.place.project("shop", "ours-shop", config)
    flat = run.place.project("shop_flat", "flat-shop", config)
    same.check(ours, flat)
    samples = Samples()
    if cluster:
        for project in (ours, flat):
            namespace = f"{project.stack}-shop"
            arguments = ("delete", "namespace", namespace, "--ignore-not-found", "--wait=false")
            run.place.kept.callback(cluster.run, *arguments)
        rendered = run.place.root / "manifests"
        run.rounds(
            "kubernetes",
            _life(ours, "ours", "", samples, rendered, to="kubernetes"),
            _life(flat, "flat", "", samples),
        )
        run.place.end()  # the cluster would slow the next case down
    return rows(_KUBERNETES, samples, dict.fromkeys(("ours", "flat"), why) if why else {})


def _cluster(run: Run) -> tuple[Cluster | None, str]:
    """A cluster until the end of the place; otherwise None and why."""
    if run.machine.no_cluster:
        return None, run.machine.no_cluster
    folder = run.place.root / "cluster"
    folder.mkdir()
    try:
        cluster = Cluster.get(folder, lambda text: print(text, file=sys.stderr))
    except NoClusterError as error:
        return None, str(error)
    except RuntimeError as error:
        raise MeasureError(f"the cluster doesn't start: {error}") from None
    run.place.kept.callback(cluster.stop)
    return cluster, ""


CASES: dict[str, Callable[[Run], list[Row]]] = {
    "chain": chain,
    "slow-health": slow_health,
    "import": imports,
    "instances": instances,
    "systems": systems,
    "deploy": deploy,
    "kubernetes": kubernetes,
}
