"""The one place where actions of GitHub are pinned: each to a commit, never to a tag that can move.

`actions.json` beside this file holds the pins; a file `actions.json` in the folder of the project
(where `Pulumi.yaml` stands) wins over it, action by action, and may add others. Both look so::

    {"actions/checkout": {"version": "v7.0.1", "sha": "3d3c42e5..."}}

``tiers actions`` checks them against the actions' repositories, ``tiers actions --update`` writes
the newest releases.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from pulumi_tiers.model.errors import DescriptionError, Mistake, nearest, shown

FILE = "actions.json"
PACKAGED = Path(__file__).resolve().with_name(FILE)

VERSION = re.compile(r"v?\d{1,9}\.\d{1,9}\.\d{1,9}", re.ASCII)
"""The tag of a release; a tag like v4 moves by design."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]*/[A-Za-z0-9_.-]+(/[A-Za-z0-9_.-]+)*")
_KEYS = {
    "version": (VERSION, "write a full version, like v4.2.2"),
    "sha": (
        re.compile(r"[0-9a-f]{40}"),
        "write the whole SHA of the commit: 40 digits, lower case",
    ),
}


@dataclass(frozen=True, order=True)
class Pin:
    """An action, its release, and the commit of that release."""

    #: ``owner/repository``, or ``owner/repository/folder`` of one that holds several.
    name: str
    #: The tag of the release: ``v4.2.2``.
    version: str
    #: 40 hexadecimal digits, lower case.
    sha: str

    @property
    def uses(self) -> str:
        """What stands behind ``uses:``; the version goes behind it as a comment."""
        return f"{self.name}@{self.sha}"

    @property
    def repository(self) -> str:
        """``owner/repository``."""
        return "/".join(self.name.split("/")[:2])


def pin(name: str) -> Pin:
    """The pin of an action. Raises DescriptionError for one that has none."""
    known = pins(project_file(Path()))
    if name not in known:
        why = f"the action {shown(name)} has no pin"
        raise DescriptionError([Mistake(FILE, why, nearest(name, known))])
    return known[name]


def pins(own: Path | None = None) -> dict[str, Pin]:
    """The packaged pins and, over them, those of a project's own file, where it is there."""
    return {**PINS, **(read(own) if own and own.is_file() else {})}


def project_file(start: Path) -> Path | None:
    """Where the project's own pins stand, if it has any: None outside of a project.

    The engine and `tiers` run a program in its folder; the project's is that, or one above it.
    """
    for folder in (start.resolve(), *start.resolve().parents):
        if (folder / "Pulumi.yaml").is_file():
            return folder / FILE
    return None


def read(path: Path) -> dict[str, Pin]:
    """The pins in a file. Raises DescriptionError with every mistake in it."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:  # also what is not UTF-8
        raise DescriptionError([Mistake(str(path), f"this is no JSON: {error}", "")]) from None
    if not isinstance(content, dict):
        raise DescriptionError([Mistake(str(path), "this is no map", "write a map of actions")])
    mistakes: list[Mistake] = []
    for name, entry in content.items():
        mistakes += _mistakes(f"{path.name}: {name}", name, entry)
    if mistakes:
        raise DescriptionError(mistakes)
    return {name: Pin(name, **entry) for name, entry in content.items()}


def _mistakes(place: str, name: str, entry: object) -> list[Mistake]:
    if not isinstance(entry, dict) or entry.keys() != _KEYS.keys():
        remedy = 'write {"version": "v4.2.2", "sha": "<the commit>"}'
        return [Mistake(place, "this does not hold exactly a version and a sha", remedy)]
    found = [
        Mistake(f"{place}.{key}", f"{shown(entry[key])} is none", remedy)
        for key, (form, remedy) in _KEYS.items()
        if not (isinstance(entry[key], str) and form.fullmatch(entry[key]))
    ]
    if not _NAME.fullmatch(name):
        found.append(Mistake(place, "this is no action", "write it like actions/checkout"))
    return found


PINS: Mapping[str, Pin] = MappingProxyType(read(PACKAGED))
"""The packaged pins, by the actions' names."""
