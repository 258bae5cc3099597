"""Changes a stack's file, and leaves comments, order and quotes as they are."""

import re
from collections.abc import Mapping
from io import StringIO
from pathlib import Path
from typing import Any

import yaml
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap
from ruamel.yaml.tokens import CommentToken

from pulumi_tiers.cli.console import EXIT_INPUT, Stop
from pulumi_tiers.cli.files import replace_text
from pulumi_tiers.render.recorder import Json


def write_entries(path: Path, key: str, entries: Mapping[str, Json]) -> None:
    """Brings a map of the configuration in the file to these entries: all of them, or none.

    Raises Stop where that can't be done without touching anything else.
    """
    with path.open(encoding="utf-8", newline="") as file:
        text = file.read()
    replace_text(path, with_entries(text, key, entries, path.name))


def with_entries(text: str, key: str, entries: Mapping[str, Json], name: str) -> str:
    """The file's text with a map of the configuration brought to these entries.

    Raises Stop where that can't be done without touching anything else.
    """
    line_end = "\r\n" if "\r\n" in text else "\n"
    plain = text.replace("\r\n", "\n")
    before: dict[str, Any] = yaml.safe_load(plain) or {}
    after = {**before, "config": {**(before.get("config") or {}), key: dict(entries)}}
    changed = _changed(plain, key, entries)
    # Whatever else YAML can do (anchors, merged maps): all or nothing.
    if yaml.safe_load(changed) != after:
        raise Stop(f"{name} can't be changed by a program: set {key} in it by hand", EXIT_INPUT)
    return changed.replace("\n", line_end)


def _changed(text: str, key: str, entries: Mapping[str, Json]) -> str:
    editor = YAML()
    editor.preserve_quotes = True
    editor.width = 10**6  # no new line breaks in long texts
    nested = re.search(r"^config:[^\n]*\n(?: *#[^\n]*\n|\n)*( +)", text, re.MULTILINE)
    listed = re.search(r"^( *)[^\s#-][^\n]*:\n( *)-( +)", text, re.MULTILINE)
    offset = len(listed[2]) - len(listed[1]) if listed else 0
    editor.indent(
        mapping=len(nested[1]) if nested else 2,
        sequence=offset + 1 + (len(listed[3]) if listed else 1),
        offset=offset,
    )
    content: CommentedMap | None = editor.load(text)
    if content is None:  # at most comments
        return f"{text.rstrip()}\n".lstrip() + _dumped(editor, {"config": {key: dict(entries)}})
    if not content.get("config"):
        content["config"] = CommentedMap()
    config = content["config"]
    if isinstance(config.get(key), CommentedMap):
        found = config[key]
        for name, value in entries.items():
            _put(found, name, value)
    else:
        _put(config, key, CommentedMap(entries))
    return _dumped(editor, content)


def _put(found: CommentedMap, name: str, value: Json) -> None:
    """Sets an entry; a new one comes before the comments that follow the map."""
    if name in found:
        if found[name] != value:
            found[name] = value
        return
    last = next(reversed(found), None)
    found[name] = value
    parts = found.ca.items.get(last)
    if not parts or parts[2] is None:
        return
    own, _, following = parts[2].value.partition("\n")
    if following:
        place, at = (
            (value, next(reversed(value))) if isinstance(value, CommentedMap) else (found, name)
        )
        place.ca.items[at] = [
            None,
            None,
            CommentToken(f"\n{following}", parts[2].start_mark),
            None,
        ]
        parts[2].value = f"{own}\n"
        if not own:
            del found.ca.items[last]


def _dumped(editor: YAML, content: object) -> str:
    out = StringIO()
    editor.dump(content, out)
    return out.getvalue()
