"""What tests get or build once, for each version of it, and keep beside the other caches."""

import fcntl
import hashlib
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest


def cached(
    name: str, version: bytes, make: Callable[[Path], "subprocess.CompletedProcess[str]"]
) -> Path:
    """A folder that `make` fills once for each version. Where it can't, the test is skipped."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "pulumi-tiers"
    folder = cache / f"{name}-{hashlib.sha256(version).hexdigest()[:8]}"
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / f"{name}.lock").open("w") as one_at_a_time:
        fcntl.flock(one_at_a_time, fcntl.LOCK_EX)
        if not (folder / "ready").exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            done = make(folder)
            if done.returncode:
                pytest.skip(f"no {name} here: {(done.stdout + done.stderr).strip()[-200:]}")
            (folder / "ready").touch()
    return folder
