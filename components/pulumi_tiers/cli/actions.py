"""`tiers actions`: whether the pinned actions are what their repositories say, and newer releases.

git asks the repositories, so a mirror of github.com is reached through git's own
``url.<mirror>.insteadOf``. `--update` writes the project's own `actions.json`, beside its
`Pulumi.yaml`; in this library's source tree, where the packaged pins are the project's, those.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import yaml

from pulumi_tiers.cli.console import EXIT_INPUT, EXIT_MISSING, Steps, Stop
from pulumi_tiers.cli.files import replace_text
from pulumi_tiers.pipelines.actions import PACKAGED, VERSION, Pin, pins, project_file, read

HOST = "https://github.com"
#: How long one repository may take to answer.
SECONDS = 30
_AT_ONCE = 8
_WORKFLOWS = (".github/workflows/*.y*ml", ".github/actions/**/action.y*ml")


class Result(StrEnum):
    """What a repository says of a pin."""

    RIGHT = "right"
    MOVED = "moved"
    ABSENT = "no such tag"
    UNKNOWN = "could not be verified"


@dataclass(frozen=True)
class Finding:
    """A pin, and what its repository says of it."""

    pin: Pin
    result: Result
    #: What is wrong; empty where the pin is right.
    why: str
    #: The newest release of the same major version, if it is newer.
    newer: Pin | None
    #: The newest release of a newer major version.
    newer_major: Pin | None
    #: Where workflow files use it: ``.github/workflows/ci.yaml:12``.
    places: tuple[str, ...]
    #: The version that `--update` replaced.
    was: str


@dataclass(frozen=True)
class Unpinned:
    """A ``uses:`` that names no commit, or does not say which release that is."""

    place: str
    why: str


@dataclass(frozen=True)
class Report:
    """What was found, and what was done."""

    findings: list[Finding]
    unpinned: list[Unpinned]
    #: Where newer releases were written.
    written: Path | None

    @property
    def well(self) -> bool:
        return not self.unpinned and all(item.result is Result.RIGHT for item in self.findings)

    def as_json(self) -> dict[str, object]:
        """For machines."""
        rows = [
            {
                "action": item.pin.name,
                "version": item.pin.version,
                "sha": item.pin.sha,
                "result": item.result.value,
                "why": item.why,
                "newer": item.newer.version if item.newer else None,
                "newer_major": item.newer_major.version if item.newer_major else None,
                "places": list(item.places),
                "was": item.was or None,
            }
            for item in self.findings
        ]
        return {
            "well": self.well,
            "pins": rows,
            "unpinned": [{"place": item.place, "why": item.why} for item in self.unpinned],
            "written": str(self.written) if self.written else None,
        }


def examine(folder: Path, steps: Steps, *, update: bool = False, major: bool = False) -> Report:
    """Compares the pins, and what workflow files use, with the actions' repositories.

    `folder`: in a project, else of a repository that has workflow files only. `update` pins the
    newest releases, of newer major versions too with `major`. What can't be asked stays as it is;
    so does a pin whose tag has moved: people should see first what happened to that repository.
    """
    own = project_file(folder)
    if update and not own:
        raise Stop(f"no Pulumi.yaml in {folder} or above it: run this in a project", EXIT_INPUT)
    known = pins(own)
    uses, unpinned = _uses(own.parent if own else folder.resolve())
    answers = _ask({pin.repository for pin in (*known.values(), *uses)}, steps)

    def findings(previous: Mapping[str, Pin]) -> Iterator[Finding]:
        for pin in sorted({*known.values(), *uses}):
            places = tuple(uses.get(pin, ()))
            # The workflow files may still use the release before.
            before = previous.get(pin.name)
            was = before.version if before and known[pin.name] == pin else ""
            yield _finding(pin, answers[pin.repository], places, was)

    found = list(findings({}))
    better = _better(found, known, major=major) if update else {}
    if not (own and better):
        return Report(found, unpinned, None)
    previous, known = known, {**known, **better}
    path = PACKAGED if own.parent == PACKAGED.parents[3] and not own.is_file() else own
    there = read(path) if path.is_file() else {}
    replace_text(path, _text({**there, **better}.values()))
    return Report(list(findings({name: previous[name] for name in better})), unpinned, path)


def _better(found: Iterable[Finding], known: Mapping[str, Pin], *, major: bool) -> dict[str, Pin]:
    """The release that each pin should have instead."""
    candidates = {
        item.pin.name: (major and item.newer_major) or item.newer
        for item in found
        if item.pin == known.get(item.pin.name) and item.result is not Result.MOVED
    }
    return {name: pin for name, pin in candidates.items() if pin}


def _text(chosen: Iterable[Pin]) -> str:
    content = {pin.name: {"version": pin.version, "sha": pin.sha} for pin in sorted(chosen)}
    return json.dumps(content, indent=2) + "\n"


# --- what the repositories say --------------------------------------------------------------------

Answer = Mapping[str, str] | str
"""The commits of a repository's tags, or why there is no answer."""


def _finding(pin: Pin, answer: Answer, places: tuple[str, ...], was: str) -> Finding:
    if isinstance(answer, str):
        return Finding(pin, Result.UNKNOWN, answer, None, None, places, was)
    releases = sorted(
        (_number(tag), Pin(pin.name, tag, sha))
        for tag, sha in answer.items()
        if VERSION.fullmatch(tag)
    )
    mine = _number(pin.version)
    same = [other for number, other in releases if number > mine and number[0] == mine[0]]
    above = [other for number, other in releases if number[0] > mine[0]]
    sha = answer.get(pin.version)
    result, why = Result.RIGHT, ""
    if sha is None:
        result, why = Result.ABSENT, f"{HOST}/{pin.repository} has no {pin.version}"
    elif sha != pin.sha:
        result, why = Result.MOVED, f"{pin.version} is {sha}"
        also = [other.version for _, other in releases if other.sha == pin.sha]
        why += f"; the pinned commit is {also[-1]}" if also else ""
    last = (same or [None])[-1], (above or [None])[-1]
    return Finding(pin, result, why, *last, places, was)


def _number(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.removeprefix("v").split("."))


def _ask(repositories: Iterable[str], steps: Steps) -> dict[str, Answer]:
    if not shutil.which("git"):
        raise Stop("git is not installed: it asks the repositories", EXIT_MISSING)
    names = sorted(repositories)
    stop = threading.Event()
    with (
        steps.during(f"asking {len(names)} repositories for their tags"),
        ThreadPoolExecutor(_AT_ONCE) as pool,
    ):
        try:
            asked = {name: pool.submit(_tags, f"{HOST}/{name}", stop) for name in names}
            for count, _ in enumerate(as_completed(asked.values()), 1):
                steps.now(f"{count} of {len(names)} repositories have answered")
        finally:
            # Also where people don't want to wait any longer.
            stop.set()
            pool.shutdown(wait=False, cancel_futures=True)
    return {name: answer.result() for name, answer in asked.items()}


def _tags(address: str, stop: threading.Event) -> Answer:
    # Nobody is asked for a password, neither on a terminal nor in a window.
    environment = {
        **os.environ,
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_ASKPASS": "",
        "GCM_INTERACTIVE": "never",
        "LC_ALL": "C",
    }
    git = subprocess.Popen(
        ["git", "ls-remote", "--quiet", "--tags", address],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        errors="replace",
        env=environment,
        # To end it with its children, which do the asking.
        start_new_session=True,
    )
    end = time.monotonic() + SECONDS
    while True:
        try:
            told, errors = git.communicate(timeout=0.1)
            break
        except subprocess.TimeoutExpired:
            if stop.is_set() or time.monotonic() > end:
                os.killpg(git.pid, signal.SIGKILL)
                git.communicate()
                return f"no answer in {SECONDS} seconds"
    if git.returncode:
        return _reason(errors)
    # An annotated tag comes twice: itself, then with ^{} the commit that it is for.
    lines = re.findall(r"^([0-9a-f]{40})\trefs/tags/(\S+?)(?:\^\{\})?$", told, re.M)
    return {tag: sha for sha, tag in lines}


def _reason(errors: str) -> str:
    if "could not read Username" in errors:
        return "there is no such repository, or only for those who log in"
    fatal = re.findall(r"^fatal: (?:unable to access '.*?': )?(.*)$", errors, re.M)
    reason = (fatal or errors.strip().splitlines() or ["git does not say why"])[0]
    return "".join(character for character in reason if character.isprintable())


# --- what workflow files use ----------------------------------------------------------------------


def _uses(root: Path) -> tuple[dict[Pin, list[str]], list[Unpinned]]:
    """The pins in the workflow files below that folder with their places, and what is no pin."""
    found: dict[Pin, list[str]] = {}
    unpinned: list[Unpinned] = []
    for path in sorted({path for pattern in _WORKFLOWS for path in root.glob(pattern)}):
        where = path.relative_to(root).as_posix()
        try:
            text = path.read_text(encoding="utf-8")
            entries = sorted(_entries(text), key=lambda node: node.start_mark.index)
        except (yaml.YAMLError, ValueError, RecursionError) as error:
            told = str(error).splitlines()[0] if str(error) else type(error).__name__
            unpinned.append(Unpinned(where, f"can't be read as YAML: {told}"))
            continue
        for node in entries:
            place = f"{where}:{node.start_mark.line + 1}"
            pin = _pinned(node.value, text[node.end_mark.index :].partition("\n")[0])
            if isinstance(pin, Pin):
                found.setdefault(pin, []).append(place)
            elif pin:
                unpinned.append(Unpinned(place, pin))
    return found, unpinned


def _pinned(value: str, rest: str) -> Pin | str:
    """The pin in ``uses: VALUE REST``, or what is wrong with it: nothing where none is needed."""
    if value.startswith("./"):
        return ""
    if value.startswith("docker://"):
        digest = re.search(r"@sha256:[0-9a-f]{64}$", value)
        return "" if digest else f"{value} names no digest: write docker://image@sha256:..."
    name, _, sha = value.partition("@")
    comment = re.match(rf"\s+#\s*({VERSION.pattern})(?![\w.+-])", rest, re.ASCII)
    if not re.fullmatch("[0-9a-f]{40}", sha):
        return f"{value} names no commit: write {name}@<SHA of the commit> # <version>"
    if not comment:
        return f"{value} does not say which release it is: write # v1.2.3 behind it"
    return Pin(name, comment[1], sha)


def _entries(text: str) -> Iterator[Any]:
    """The nodes of the values of every ``uses:``."""
    seen: set[int] = set()
    nodes: list[Any] = [yaml.compose(text, yaml.SafeLoader)]
    while nodes:
        node = nodes.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        if isinstance(node, yaml.SequenceNode):
            nodes += node.value
        elif isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                if key.value == "uses" and isinstance(value, yaml.ScalarNode):
                    yield value
                # What is handed to an action or a program may have any name.
                elif key.value not in ("with", "env"):
                    nodes.append(value)
