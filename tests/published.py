"""The published types of Grafana's and Elastic's formats, as a judge of what is made here."""

import fcntl
import hashlib
import os
import shutil
import subprocess
from pathlib import Path

import pytest

_SOURCES = Path(__file__).parent / "schemas"
_OPTIONS = ("--noEmit", "--strict", "--skipLibCheck", "--module", "nodenext")


def _packages() -> Path:
    """The folder of the packages, got once for each list of them."""
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("no npm here")
    lock = (_SOURCES / "package-lock.json").read_bytes()
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "pulumi-tiers"
    folder = cache / f"schemas-{hashlib.sha256(lock).hexdigest()[:8]}"
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / "schemas.lock").open("w") as one_at_a_time:
        fcntl.flock(one_at_a_time, fcntl.LOCK_EX)
        if not (folder / "ready").exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            for name in ("package.json", "package-lock.json"):
                shutil.copy(_SOURCES / name, folder)
            command = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
            done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
            if done.returncode:
                pytest.skip(f"npm gets nothing here: {done.stderr.strip()[-200:]}")
            (folder / "ready").touch()
    return folder / "node_modules"


def check_types(folder: Path, text: str) -> str:
    """What the compiler says of a program in TypeScript. It may import from ``./published``."""
    packages = _packages()
    modules = folder / "node_modules"
    if not modules.exists():
        modules.symlink_to(packages)
    shutil.copy(_SOURCES / "published.ts", folder)
    (folder / "made.ts").write_text(text, encoding="utf-8")
    compiler = ["node", str(packages / "typescript" / "lib" / "tsc.js"), *_OPTIONS]
    command = [*compiler, "--moduleResolution", "nodenext", "--preserveSymlinks", "made.ts"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    return done.stdout
