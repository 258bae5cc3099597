"""Where the processes of the application share their metrics."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path


def empty_folder(environment: Mapping[str, str]) -> None:
    """Begin with none: what an earlier run left would be counted again."""
    name = environment.get("PROMETHEUS_MULTIPROC_DIR")
    if not name:
        return
    folder = Path(name)
    folder.mkdir(parents=True, exist_ok=True)
    for file in folder.glob("*.db"):
        file.unlink()
