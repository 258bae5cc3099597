"""The pages say what the code does."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import CodeType
from typing import Any

import pulumi_tiers
import pytest
import typer.main
import yaml
from pulumi_tiers.app_tier import AppTier, AppTierArgs, WorkloadArgs
from pulumi_tiers.ci_pipeline import (
    CIPipeline,
    CIPipelineArgs,
    ComposeDeploymentArgs,
    DeploymentArgs,
    DeploymentEnvironmentArgs,
    HealthArgs,
    ImageBuildArgs,
    ImageTagArgs,
    JobArgs,
    KubectlDeploymentArgs,
    PipelineSecretArgs,
    PullRequestArgs,
    PulumiDeploymentArgs,
    PushArgs,
    PushedToArgs,
    StepArgs,
    TriggersArgs,
    WorkflowArgs,
)
from pulumi_tiers.cli import console
from pulumi_tiers.cli.main import Format, app
from pulumi_tiers.cli.runner import Runner
from pulumi_tiers.cluster import Cluster
from pulumi_tiers.data_tier import ConnectionArgs, DataTier, DataTierArgs, StoreArgs
from pulumi_tiers.edge_proxy import (
    EdgePortsArgs,
    EdgeProxy,
    EdgeProxyArgs,
    RateLimitArgs,
    RouteArgs,
    SnippetsArgs,
    TimeoutsArgs,
    TlsArgs,
    UpstreamArgs,
)
from pulumi_tiers.engines import ENGINES
from pulumi_tiers.model.base import Model
from pulumi_tiers.model.edge import Balance, TlsMode
from pulumi_tiers.model.errors import DescriptionError
from pulumi_tiers.model.network import Network
from pulumi_tiers.model.observability import Family, Severity, Thresholds
from pulumi_tiers.model.references import FIELDS
from pulumi_tiers.model.store import Bucket, Database, Managed, Store
from pulumi_tiers.model.system import Environment, System, Target
from pulumi_tiers.model.workload import (
    Autoscale,
    Build,
    Condition,
    Healthcheck,
    LoadBalancer,
    Port,
    Resources,
    Source,
    Volume,
    Workload,
)
from pulumi_tiers.observability import component as watching
from pulumi_tiers.observability.rules import NAMES
from pulumi_tiers.platforms.base import EndpointArgs
from pulumi_tiers.program import main
from pulumi_tiers.render.picture import mermaid
from pulumi_tiers.render.recorder import Recording, record
from pulumi_tiers.settings import NAMESPACE, Settings, read_settings
from pulumi_tiers.site import Site, SiteArgs
from pulumi_tiers.systems import SYSTEMS

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
DOCS = ROOT / "docs"
PAGES = sorted(
    path
    for path in ROOT.rglob("*.md")
    if not any(part.startswith(".") for part in path.relative_to(ROOT).parts)
)
EACH_PAGE = pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
COMMANDS = set(typer.main.get_group(app).commands)


def text(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def blocks(page: Path, language: str) -> list[str]:
    """The fenced blocks of one language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", text(page), re.MULTILINE | re.DOTALL)


def code(page: Path) -> Iterator[str]:
    """Everything that is set as code: the lines of blocks, and what stands between backticks."""
    prose = text(page)
    for block in re.findall(r"^ *```\w*\n(.*?)^ *```$", prose, re.MULTILINE | re.DOTALL):
        yield from block.splitlines()
    yield from re.findall(r"`([^`\n]+)`", re.sub(r"```.*?```", "", prose, flags=re.DOTALL))


def first_cells(page: Path) -> list[str]:
    """The first cell of each table row, without its backticks."""
    return [cell.replace("`", "") for cell in re.findall(r"^\| ([^|]+?) \|", text(page), re.M)]


# --- links and names ------------------------------------------------------------------------------


def anchors(page: Path) -> set[str]:
    """The headings as GitHub links to them."""
    headings = re.findall(r"^#+ (.+)$", text(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@EACH_PAGE
def test_relative_links_lead_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", text(page)):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


@EACH_PAGE
def test_files_that_are_named_exist(page: Path) -> None:
    folders = (page.parent, ROOT, ROOT / "components" / "pulumi_tiers")
    for name in " ".join(code(page)).split():
        if re.fullmatch(r"[\w.-]+(?:/[\w.-]+)*\.(?:py|md|txt|toml)|[\w-]+(?:/[\w-]+)*/", name):
            assert any((folder / name).exists() for folder in folders), name


def test_every_page_is_in_the_readme() -> None:
    for page in DOCS.rglob("*.md"):
        name = page.relative_to(ROOT).as_posix()
        assert f"]({name})" in text(README) or page.parent.name == "decisions", name


# --- commands -------------------------------------------------------------------------------------


def test_every_command_stands_in_the_readme() -> None:
    assert {cell.removeprefix("tiers ") for cell in first_cells(README)} >= COMMANDS
    for word in (*Format, *Runner):
        assert re.search(rf"--(?:to|runner) [^`]*\b{word}\b", text(README)), word


@EACH_PAGE
def test_commands_and_their_options_exist(page: Path) -> None:
    group = typer.main.get_group(app)
    for line in code(page):
        called = re.match(r"(?:\.venv/bin/)?tiers ([a-z]+)(.*)", line)
        if not called:
            continue
        assert called[1] in COMMANDS, line
        known = {option for item in group.commands[called[1]].params for option in item.opts}
        options = re.findall(r"(?<=\s)--?[a-z]+", called[2].partition(" -- ")[0])
        if called[1] != "exec":  # what follows is another program's
            assert set(options) <= known, line


@EACH_PAGE
def test_make_targets_exist(page: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):.*## ", text(ROOT / "Makefile"), re.MULTILINE))
    for line in code(page):
        for target in re.findall(r"(?:^|(?<=\s))make ([a-z-]+)", line):
            assert target in targets, line


def test_the_readme_has_the_exit_codes() -> None:
    codes = {str(value) for name, value in vars(console).items() if name.startswith("EXIT_")}
    assert set(first_cells(README)) >= {"0", "130", *codes}


# --- configuration and description ----------------------------------------------------------------


def shown(default: object) -> str:
    """A default as the pages write it."""
    match default:
        case list():
            return f"[{', '.join(default)}]"
        case dict() | int() | str():
            return str(default)
        case Model():
            return "{}"
        case _:
            return "empty"


@pytest.mark.parametrize("page", [README, DOCS / "configuration.md"], ids=lambda path: path.name)
def test_every_key_stands_there_with_its_default(page: Path) -> None:
    rows = re.findall(rf"^\| `{NAMESPACE}:(\w+)` \|(.*)\|$", text(page), re.MULTILINE)
    assert {key for key, _ in rows} == set(Settings.model_fields)
    for key, row in rows:
        default = shown(Settings.model_fields[key].default)
        assert default in row.replace("`", ""), key


def test_every_key_is_explained() -> None:
    for key in Settings.model_fields:
        assert f"## `{NAMESPACE}:{key}`" in text(DOCS / "configuration.md")


def test_the_shown_pipelines_are_taken() -> None:
    config: dict[str, Any] = {
        "tiers:environment": "production",
        "tiers:target": "digitalocean",
        "tiers:systems": ["encontros-tech", "ocolecionador", "pigmeu"],
        "tiers:domains": {"pigmeu": "pigmeu.example.com"},
        "tiers:tls": {"pigmeu": {"mode": "off"}},
    }
    for key in ("github", "pipelines"):
        part = text(DOCS / "configuration.md").split(f"## `{NAMESPACE}:{key}`")[1]
        [shown_, *_] = re.findall(r"^```yaml\n(.*?)^```$", part, re.MULTILINE | re.DOTALL)
        config |= yaml.safe_load(shown_.replace("{secure: ...}", "a-token"))["config"]
    recording = record(main, project="tiers", stack="prod", config=config)
    delivered = recording.of_type("tiers-components:index:CIPipeline")
    assert [item.name for item in delivered] == [
        "encontros-tech-ci",
        "ocolecionador-ci",
        "pigmeu-ci",
    ]


def test_the_words_of_a_description_are_explained() -> None:
    page = set(re.findall(r"`([\w-]+)`", text(DOCS / "description.md")))
    parts = (
        *(System, Network, Store, Database, Bucket, Managed, Workload, Build, Port, Volume),
        *(Healthcheck, Resources, Autoscale, LoadBalancer, Source),
    )
    for part in parts:
        assert page >= set(part.model_fields), part.__name__
    assert page >= {*Condition, *Environment, *FIELDS, *ENGINES}
    assert page >= set(WorkloadArgs.__annotations__) | set(StoreArgs.__annotations__)


def test_the_arguments_of_the_components_are_explained() -> None:
    page = set(re.findall(r"`([\w-]+)`", text(DOCS / "components.md")))
    for arguments in (SiteArgs, DataTierArgs, AppTierArgs, ConnectionArgs, EndpointArgs):
        assert page >= set(arguments.__annotations__), arguments.__name__
    for arguments in (CIPipelineArgs, DeploymentEnvironmentArgs, PipelineSecretArgs, PushedToArgs):
        assert page >= set(arguments.__annotations__), arguments.__name__
    for component in (Site, Cluster, DataTier, AppTier, CIPipeline):
        assert page >= set(component.__annotations__), component.__name__


def test_the_words_of_a_pipeline_are_explained() -> None:
    page = set(re.findall(r"`([\w-]+)`", text(DOCS / "pipelines.md")))
    for arguments in (
        *(WorkflowArgs, TriggersArgs, PushArgs, PullRequestArgs, JobArgs, StepArgs),
        *(ImageBuildArgs, ImageTagArgs, DeploymentArgs, PulumiDeploymentArgs, HealthArgs),
        *(KubectlDeploymentArgs, ComposeDeploymentArgs),
    ):
        assert page >= set(arguments.__annotations__), arguments.__name__


def test_the_arguments_of_an_edge_are_explained() -> None:
    page = set(re.findall(r"`(?:snippets\.)?([\w-]+)`", text(DOCS / "edge.md")))
    for arguments in (
        *(EdgeProxyArgs, UpstreamArgs, RateLimitArgs, RouteArgs, TimeoutsArgs, TlsArgs),
        *(EdgePortsArgs, SnippetsArgs, EdgeProxy),
    ):
        assert page >= set(arguments.__annotations__), arguments.__name__
    assert page >= {*Balance, *TlsMode}


def test_how_a_system_is_watched_is_explained() -> None:
    page = text(DOCS / "observability.md")
    words = set(re.findall(r"`([\w-]+)`", page))
    for arguments in (
        *(watching.ObservabilityArgs, watching.WatchedTargetArgs, watching.WatchedEdgeArgs),
        *(watching.PrometheusArgs, watching.AlertsArgs, watching.EmailArgs, watching.GrafanaArgs),
        *(watching.LogsArgs, watching.ProgramMetricsArgs, watching.ThresholdsArgs),
        *(watching.RuleArgs, watching.Observability),
    ):
        assert words >= set(arguments.__annotations__), arguments.__name__
    assert words >= {*NAMES, *Family, *Severity}
    # Each with its threshold, as the model has it.
    for key, field in Thresholds.model_fields.items():
        assert f"`{key}` {field.default:g} |" in page, key


def test_every_target_and_every_system_has_its_place() -> None:
    assert set(first_cells(DOCS / "targets.md")) >= set(Target)
    for system in SYSTEMS:
        assert (DOCS / "systems" / f"{system}.md").is_file()
        assert f"`{system}`" in text(DOCS / "configuration.md")


def test_the_shown_mistakes_are_what_is_told() -> None:
    [sample] = blocks(DOCS / "description.md", "text")
    config = {
        "tiers:environmnt": "production",
        "tiers:port_offset": "99999",
        "tiers:images": {"encontros-tech/ap": "Bad Image"},
    }
    with pytest.raises(DescriptionError) as told:
        read_settings(config)
    assert sample.strip() == str(told.value)


# --- contradictions, decisions --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("system", "last"), [("OC", 32), ("VI", 19), ("NF", 18), ("PI", 18), ("EN", 15)]
)
def test_every_contradiction_has_one_row(system: str, last: int) -> None:
    cells = first_cells(DOCS / "contradictions.md")
    rows = [cell for cell in cells if cell.startswith(f"{system}-")]
    assert rows == [f"{system}-{number:02}" for number in range(1, last + 1)]


def test_the_public_debug_of_en_08_is_warned_about_but_not_on_docker() -> None:
    def warnings(target: str) -> list[str]:
        config = {"tiers:environment": "development", "tiers:target": target}
        return record(main, project="tiers", stack="dev", config=config).warnings

    assert warnings("docker") == []
    debug, metrics = warnings("kubernetes")
    assert "DEBUG" in debug
    # EN-07.
    assert "/metrics" in metrics


def test_decisions_are_short_and_of_one_form() -> None:
    records = sorted((DOCS / "decisions").glob("*.md"))
    for number, record_ in enumerate(records, 1):
        assert record_.name.startswith(f"{number:04}-")
        assert text(record_).startswith(f"# {number:04} ")
        headings = re.findall(r"^## (.*)$", text(record_), re.MULTILINE)
        assert headings == ["Context", "Decision", "Consequences"], record_.name
        assert len(text(record_).splitlines()) < 25, record_.name


# --- examples -------------------------------------------------------------------------------------


def recorded(program: CodeType) -> Recording:
    return record(lambda: exec(program, {}), project="docs", stack="dev", config={})


EXAMPLES = [
    pytest.param(
        compile(block, f"{page.name}-{number}", "exec"), id=f"{page.relative_to(ROOT)}-{number}"
    )
    for page in PAGES
    for number, block in enumerate(blocks(page, "python"), 1)
]


@pytest.mark.parametrize("program", EXAMPLES)
def test_examples_run(program: CodeType) -> None:
    recording = recorded(program)
    made = (
        "docker:index/container:Container",
        "digitalocean:index/databaseCluster:DatabaseCluster",
    )
    assert any(recording.of_type(kind) for kind in made)
    assert recording.warnings == []


def test_examples_import_what_the_package_offers() -> None:
    offered = set(pulumi_tiers.__all__)
    for page in PAGES:
        for block in blocks(page, "python"):
            assert "from pulumi_tiers." not in block, page
            for names in re.findall(r"^from pulumi_tiers import (.+)$", block, re.MULTILINE):
                assert offered >= set(names.split(", ")), page
    [sentence] = re.findall(r"`from pulumi_tiers import ([^`]+)`", text(DOCS / "components.md"))
    assert offered == set(re.findall(r"\w+", sentence))


def test_the_example_of_the_readme_does_what_it_shows() -> None:
    [block] = blocks(README, "python")
    recording = recorded(compile(block, "README", "exec"))
    [web] = [item for item in recording.resources if item.name == "shop-app-web"]
    ports: list[Mapping[str, Any]] = web.inputs["ports"]
    assert [(port["ip"], port["external"], port["internal"]) for port in ports] == [
        ("127.0.0.1", 8080, 8000)
    ]
    assert "DATABASE_HOST=postgres" in web.inputs["envs"]
    assert recording.outputs["urls"] == {"web": ["http://127.0.0.1:8080"]}


def test_the_picture_in_the_readme_is_that_of_the_stack_dev() -> None:
    config = {"tiers:environment": "development", "tiers:target": "docker"}
    recording = record(main, project="tiers", stack="dev", config=config)
    assert blocks(README, "mermaid") == [mermaid(recording)]


@pytest.mark.parametrize(
    ("system", "environment", "tls"),
    [
        ("nutrifitcoach", "development", True),
        ("pigmeu", "production", True),
        # OC-04: none, unless the stack has a certificate.
        ("ocolecionador", "production", False),
        ("vision", "production", True),
    ],
)
def test_the_pictures_of_the_systems_are_those_of_their_programs(
    system: str, environment: str, *, tls: bool
) -> None:
    config = {
        "tiers:environment": environment,
        "tiers:systems": [system],
        **({"tiers:tls": {system: {"mode": "self_signed"}}} if tls else {}),
    }
    recording = record(main, project="tiers", stack="dev", config=config)
    assert blocks(DOCS / "systems" / f"{system}.md", "mermaid") == [mermaid(recording)]


@pytest.mark.parametrize("environment", list(Environment))
@pytest.mark.parametrize("system", ["ocolecionador", "vision"])
def test_the_page_of_a_system_names_the_variables_of_its_programs(
    system: str, environment: Environment
) -> None:
    """Which are documented, and which are ours."""
    page = text(DOCS / "systems" / f"{system}.md")
    described = SYSTEMS[system](environment)
    programs = [item for item in described.workloads.values() if item.source]
    assert programs
    named = {
        name
        for item in programs
        for name in (*item.values, *item.optional_environment, *item.optional_secrets)
    }
    assert sorted(name for name in named if f"`{name}`" not in page) == []
