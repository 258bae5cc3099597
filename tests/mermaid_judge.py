"""What Mermaid's own parser says of pictures."""

import json
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest
from cached import cached

_SOURCE = Path(__file__).with_name("mermaid")
_FILES = ("package.json", "package-lock.json", "parse.mjs")
_SECONDS = 300


def mermaid_errors(pictures: Sequence[str]) -> list[str]:
    """A text for each picture, empty if it can be drawn. The parser comes from npm once: 180 MB."""
    if not (shutil.which("npm") and shutil.which("node")):
        pytest.skip("no npm here")
    sources = b"".join((_SOURCE / name).read_bytes() for name in _FILES)

    def install(folder: Path) -> "subprocess.CompletedProcess[str]":
        for name in _FILES:
            shutil.copy(_SOURCE / name, folder)
        return subprocess.run(
            ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"],
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=_SECONDS,
            check=False,
        )

    done = subprocess.run(
        ["node", "parse.mjs"],
        cwd=cached("mermaid", sources, install),
        input=json.dumps(pictures),
        capture_output=True,
        text=True,
        timeout=_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    said: list[str] = json.loads(done.stdout)
    return said
