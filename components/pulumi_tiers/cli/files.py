"""Files that must never be lost by half: written whole beside their place, then moved there."""

import os
from pathlib import Path


def write_private(path: Path, text: str) -> None:
    """Writes a file that only its owner may read. A full disk leaves the old one as it was."""
    private_folder(path.parent)
    _write(path, text, 0o600)


def replace_text(path: Path, text: str) -> None:
    """Writes a file anew; one that is there stays where its links lead to, and who may read it."""
    real = path.resolve()
    _write(real, text, real.stat().st_mode & 0o777 if real.exists() else 0o644)


def _write(path: Path, text: str, mode: int) -> None:
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8", newline="") as stream:
            os.fchmod(descriptor, mode)
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def private_folder(path: Path) -> None:
    """Makes a folder that only its owner may enter, unless it is there."""
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
