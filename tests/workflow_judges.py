"""What others say of workflow files: the published schema, actionlint, zizmor, checkov."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from cached import cached

_ACTIONLINT = Path(__file__).with_name("actionlint")
_ZIZMOR = Path(__file__).with_name("zizmor.yml")
_ACTIONLINT_PACKAGE = "github.com/rhysd/actionlint/cmd/actionlint"
# It pins nearly everything that it needs, which is not what this project has.
_CHECKOV = "checkov==3.3.30"
_SECONDS = 600


def write(folder: Path, files: Mapping[str, str]) -> list[Path]:
    """The files, by their paths in a repository, in that folder."""
    for path, text in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text, encoding="utf-8")
    return [folder / path for path in files]


def schema_errors(paths: Sequence[Path]) -> str:
    """What breaks SchemaStore's schema of workflows; also a job without a timeout."""
    said = ""
    for schema in ("vendor.github-workflows", "custom.github-workflows-require-timeout"):
        command = [_program("check-jsonschema"), "--color", "never", "--builtin-schema", schema]
        done = _run([*command, *paths])
        said += done.stdout + done.stderr if done.returncode else ""
    return said


def zizmor_findings(paths: Sequence[Path]) -> str:
    """What zizmor finds, without asking GitHub anything."""
    quiet = ("--offline", "--config", str(_ZIZMOR), "--no-progress", "--quiet", "--color", "never")
    done = _run([_program("zizmor"), *quiet, "--format", "plain", *paths])
    return done.stdout + done.stderr if done.returncode else ""


def actionlint_errors(paths: Sequence[Path]) -> str:
    """What actionlint says; also of the scripts, where shellcheck is installed."""
    config = ("-config-file", _ACTIONLINT / "actionlint.yaml")
    done = _run([_actionlint(), "-no-color", "-pyflakes=", *config, *paths])
    return done.stdout + done.stderr


def checkov_failures(folder: Path) -> list[str]:
    """``<check> <file>: <what failed>`` for each failed check of the workflows in the folder."""
    command = [_checkov(), "--directory", folder, "--framework", "github_actions"]
    done = _run([*command, "--output", "json", "--skip-download"])
    found = json.loads(done.stdout)
    assert found.get("results", {}).get("passed_checks"), found  # it did look
    return sorted(
        f"{check['check_id']} {check['file_path'].lstrip('/')}: {check['check_name']}"
        for check in found["results"]["failed_checks"]
    )


def _run(command: Sequence[str | Path]) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=_SECONDS, cwd="/"
    )


def _program(name: str) -> Path:
    """One of the development tools in this project's environment."""
    return Path(sys.executable).with_name(name)


def _actionlint() -> Path:
    """Built from its Go module, once for each version: five seconds."""
    sources = b"".join((_ACTIONLINT / name).read_bytes() for name in ("go.mod", "go.sum"))

    def build(folder: Path) -> "subprocess.CompletedProcess[str]":
        go = shutil.which("go", path=f"{os.environ['PATH']}:/usr/local/go/bin")
        if go is None:
            pytest.skip("no Go to build actionlint with")
        for name in ("go.mod", "go.sum"):
            shutil.copy(_ACTIONLINT / name, folder)
        return subprocess.run(
            ["nice", go, "build", "-o", "actionlint", _ACTIONLINT_PACKAGE],
            cwd=folder,
            env={**os.environ, "CGO_ENABLED": "0", "GOFLAGS": "-mod=readonly"},
            capture_output=True,
            text=True,
            timeout=_SECONDS,
            check=False,
        )

    return cached("actionlint", sources, build) / "actionlint"


def _checkov() -> Path:
    """From PyPI, in an environment of its own, once for each version: a minute, 300 MB."""

    def install(folder: Path) -> "subprocess.CompletedProcess[str]":
        subprocess.run([sys.executable, "-m", "venv", folder / "venv"], check=True)
        pip = (folder / "venv" / "bin" / "python", "-m", "pip", "--disable-pip-version-check")
        return _run([*pip, "install", "--quiet", _CHECKOV])

    return cached("checkov", _CHECKOV.encode(), install) / "venv" / "bin" / "checkov"
