"""`tiers render --to workflows`: the files that `up` would put into the repositories."""

from pathlib import Path
from typing import Any

import pytest
from pulumi_tiers.model.environment import Environment
from pulumi_tiers.model.pipeline import PipelineOptions
from pulumi_tiers.pipelines.picture import page
from pulumi_tiers.pipelines.planned import with_pipeline
from pulumi_tiers.pipelines.workflows import workflow_files
from pulumi_tiers.render.recorder import Recording, Resource
from pulumi_tiers.render.workflows import COMPONENT, workflows
from pulumi_tiers.settings import Settings
from pulumi_tiers.systems import SYSTEMS
from test_cli import configure, project, tiers

__all__ = ["project"]

# Side by side on one machine, they have ports of their own.
ALL = ["encontros-tech", "nutrifitcoach", "ocolecionador", "pigmeu", "vision"]
OFFSETS = {system: 1234 * number for number, system in enumerate(ALL)}


def found(out: Path) -> dict[str, str]:
    return {
        str(path.relative_to(out)): path.read_text() for path in out.rglob("*") if path.is_file()
    }


def expected(system: str, options: PipelineOptions) -> dict[str, str]:
    settings = Settings(pipelines={system: options})
    pipeline = with_pipeline(SYSTEMS[system](Environment.DEVELOPMENT), settings, []).pipeline
    assert pipeline is not None
    files = {**workflow_files(pipeline), "pipelines.md": page(system, pipeline)}
    return {f"{system}/{path}": text for path, text in files.items()}


def test_every_system_has_a_folder_as_its_repository_has(project: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    configure(
        project, systems=ALL, port_offsets=OFFSETS, pipelines={"nutrifitcoach": {"enabled": True}}
    )
    told = tiers("render", "--to", "workflows", "--out", str(out), cwd=project).stderr
    on = PipelineOptions(enabled=True)
    assert found(out) == {
        path: text for system in ALL for path, text in expected(system, on).items()
    }
    # No stack says that the repository keeps anything: nothing is missing there.
    assert "DOCKER_PASSWORD" not in told


def test_what_is_described_as_future_is_made_on_request(project: Path) -> None:
    configure(project, systems=ALL, port_offsets=OFFSETS)
    text = tiers("render", "--to", "workflows", cwd=project).stdout
    assert "# pigmeu/.github/workflows/deploy.yml\n# Made by" in text
    assert "# nutrifitcoach/" not in text


def test_the_text_is_all_files_in_the_order_of_their_names(project: Path) -> None:
    text = tiers("render", "--to", "workflows", cwd=project).stdout
    files = expected("encontros-tech", PipelineOptions())
    shown = sorted(path for path in files if not path.endswith(".md"))
    assert text == "\n".join(f"# {path}\n{files[path]}" for path in shown)


def test_owner_and_options_of_the_stack_are_kept(project: Path) -> None:
    options = {"reviewers": {"production": ["octocat"]}, "notify": ["slack"], "attest": False}
    configure(
        project,
        github={"owner": "company", "secrets": {"DOCKER_PASSWORD": {"secure": "v1:abc"}}},
        pipelines={"encontros-tech": options},
    )
    done = tiers("render", "--to", "workflows", cwd=project)
    assert "SLACK_WEBHOOK_URL" in done.stdout
    assert "sbom: true" not in done.stdout
    # Files refer to secrets by their names alone.
    assert "give the files its value" not in done.stderr
    assert "has to approve" not in done.stderr


def test_without_a_pipeline_it_is_said_what_to_do(project: Path) -> None:
    configure(project, systems=["nutrifitcoach"])
    told = tiers("render", "--to", "workflows", cwd=project, code=2).stderr
    assert "tiers:pipelines" in told
    (project / "__main__.py").write_text("")
    told = tiers("render", "--to", "workflows", cwd=project, code=2).stderr
    assert "makes no pipeline" in told
    assert "CIPipeline" in told


OWN = """\
from pulumi_tiers import CIPipeline

CIPipeline(
    "shop-ci",
    {
        "system": "shop",
        "workflows": {
            "ci.yaml": {
                "name": "CI",
                "on": {"push": {"branches": ["main"]}},
                "jobs": {"test": {"steps": [{"run": "make test"}]}},
            }
        },
    },
)
"""


def test_a_program_of_ones_own_renders_too(project: Path, tmp_path: Path) -> None:
    (project / "__main__.py").write_text(OWN)
    out = tmp_path / "out"
    tiers("render", "--to", "workflows", "--out", str(out), cwd=project)
    files = found(out)
    assert set(files) == {"shop/.github/workflows/ci.yaml", "shop/pipelines.md"}
    assert "      - run: make test\n" in files["shop/.github/workflows/ci.yaml"]


def component(name: str, outputs: dict[str, Any]) -> tuple[Resource, dict[str, Any]]:
    return Resource(name, COMPONENT, name, "", {}, ()), outputs


def test_two_pipelines_have_no_file_in_common() -> None:
    outputs = {"system": "shop", "files": {".github/workflows/a.yaml": "a"}, "page": "b"}
    made = [component("one", outputs), component("two", outputs)]
    recording = Recording(
        resources=[resource for resource, _ in made],
        component_outputs={resource.urn: outputs for resource, outputs in made},
    )
    with pytest.raises(ValueError, match=r"two pipelines of shop have the file .*a\.yaml"):
        workflows(recording)
