"""What the wheel puts into site-packages."""

import email
import re
import tomllib
import zipfile

import pytest
from wheelhouse import PACKAGE, ROOT, build_wheel


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    return zipfile.ZipFile(build_wheel(tmp_path_factory.mktemp("wheel")))


def test_it_brings_one_package_and_nothing_generic(wheel: zipfile.ZipFile) -> None:
    info = "pulumi_tiers-0.1.0.dist-info"
    assert {name.partition("/")[0] for name in wheel.namelist()} == {"pulumi_tiers", info}
    assert f"{info}/licenses/LICENSE" in wheel.namelist()


def test_it_brings_the_whole_package(wheel: zipfile.ZipFile) -> None:
    ours = {
        path.relative_to(PACKAGE.parent).as_posix()
        for path in PACKAGE.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert {name for name in wheel.namelist() if name.startswith("pulumi_tiers/")} == ours
    # Without them, nobody's type checker sees our types, and the engine looks for a plugin.
    assert ours >= {"pulumi_tiers/py.typed", "pulumi_tiers/pulumi-plugin.json"}


def names(requirements: list[str]) -> set[str]:
    return {re.split(r"[<>=!~;\s]", requirement)[0] for requirement in requirements}


def test_it_brings_the_command_and_asks_for_no_tools(wheel: zipfile.ZipFile) -> None:
    info = "pulumi_tiers-0.1.0.dist-info"
    assert "tiers = pulumi_tiers.cli.main:app" in wheel.read(f"{info}/entry_points.txt").decode()
    metadata = email.message_from_bytes(wheel.read(f"{info}/METADATA"))
    needed = [line for line in metadata.get_all("Requires-Dist", []) if "extra ==" not in line]
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    assert names(needed) == names(declared)
