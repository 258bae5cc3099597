"""The project on disk: `Pulumi.yaml`, a stack's configuration, its program. No engine needed."""

import datetime
import hashlib
import json
import runpy
import sys
import traceback
from collections.abc import Mapping
from contextlib import chdir
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pulumi
import yaml

from pulumi_tiers.cli.console import EXIT_INPUT, Stop
from pulumi_tiers.model.errors import place_of, shown
from pulumi_tiers.render.recorder import (
    Json,
    Recording,
    Secret,
    placeholders,
    record,
    secret_placeholder,
)


@dataclass(frozen=True)
class Project:
    """A Pulumi project whose program is in Python."""

    root: Path
    name: str
    main: Path
    defaults: Mapping[str, Json]

    @classmethod
    def find(cls, start: Path) -> "Project":
        """The project of a folder: the nearest `Pulumi.yaml` upwards."""
        for folder in (start.resolve(), *start.resolve().parents):
            if (folder / "Pulumi.yaml").is_file():
                return cls._load(folder)
        raise Stop(f"no Pulumi.yaml in {start} or above it: run this inside a project", EXIT_INPUT)

    @classmethod
    def _load(cls, root: Path) -> "Project":
        content = _read_yaml(root / "Pulumi.yaml")
        name = str(content.get("name", ""))
        defaults: dict[str, Json] = {}
        for key, declared in _config(root / "Pulumi.yaml", content).items():
            full = key if ":" in key else f"{name}:{key}"
            value = declared.get("default") if isinstance(declared, dict) else declared
            if value is not None:
                defaults[full] = value
        main = root / str(content.get("main", "."))
        return cls(root, name, main / "__main__.py" if main.is_dir() else main, defaults)

    @property
    def owner(self) -> str:
        """Marks what this folder's stacks have made on the Docker host."""
        return hashlib.sha256(str(self.root).encode()).hexdigest()[:12]

    @property
    def stacks(self) -> list[str]:
        return sorted(path.stem.partition(".")[2] for path in self.root.glob("Pulumi.*.yaml"))

    def state(self, stack: str) -> Path:
        """Folder for what belongs to this machine only. Ignored by git."""
        if stack in ("state", "passphrase"):
            raise Stop(f"a stack can't be called '{stack}' here: choose another name", EXIT_INPUT)
        return self.root / ".tiers" / stack

    def stack_file(self, stack: str) -> dict[str, Json]:
        """The stack's file as written."""
        path = self.root / f"Pulumi.{stack}.yaml"
        if not path.is_file():
            known = ", ".join(self.stacks) or "none"
            raise Stop(
                f"there is no stack '{stack}' ({path.name} is missing); stacks: {known}", EXIT_INPUT
            )
        content = _read_yaml(path)
        config = _config(path, content)
        return {**content, "config": {key: _structured(value) for key, value in config.items()}}

    def config(self, stack: str) -> dict[str, Json]:
        """The stack's configuration with `Pulumi.yaml`'s defaults, as the engine would merge it.

        Encrypted values become named placeholders: nothing can decrypt them here.
        """
        own = self.stack_file(stack).get("config") or {}
        found = dict(self.defaults)
        for key, value in own.items():
            # A key without a namespace is the project's own.
            full = key if ":" in key else f"{self.name}:{key}"
            found[full] = _without_ciphers(value, full)
        return found

    def encrypted(self, stack: str) -> dict[str, str]:
        """The encrypted values of the stack's file: variable in rendered files -> their place."""
        found: dict[str, str] = {}
        for key, value in self.config(stack).items():
            for kind, name in placeholders(value):
                assert kind == "secret"
                found[name] = key
        return found

    def record(self, stack: str, overrides: Mapping[str, Json] | None = None) -> Recording:
        """Records the program as that stack's. `overrides` win over the configuration."""
        config = {**self.config(stack), **(overrides or {})}
        try:
            return record(self._run, project=self.name, stack=stack, config=config)
        except pulumi.RunError as error:
            raise Stop(str(error), EXIT_INPUT) from None
        except Exception as error:
            last = traceback.extract_tb(error.__traceback__)[-1]
            where = f"{last.filename}:{last.lineno}"
            raise Stop(f"{self.main} failed: {type(error).__name__}: {error} ({where})") from error

    def _run(self) -> None:
        # The engine's Python host starts a program in its own folder, with that on the path.
        folder = str(self.main.parent)
        sys.path.insert(0, folder)
        try:
            with chdir(folder):
                runpy.run_path(str(self.main), run_name="__main__")
        finally:
            sys.path.remove(folder)


class _Loader(yaml.SafeLoader):
    """As the engine reads YAML: a key that stands twice is a mistake."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        keys: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in keys:
                    raise yaml.composer.ComposerError(
                        None, None, f"the key '{key.value}' stands here twice", key.start_mark
                    )
                keys.add(key.value)
        return node


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        # Its base is the safe loader.
        content = yaml.load(path.read_text(encoding="utf-8"), _Loader)  # noqa: S506
    except RecursionError:
        raise Stop(f"{path.name} is nested too deep", EXIT_INPUT) from None
    except (yaml.YAMLError, ValueError) as error:  # also what is not UTF-8
        raise Stop(f"{path.name} is not valid YAML: {error}", EXIT_INPUT) from None
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise Stop(f"{path.name} does not hold a map of keys", EXIT_INPUT)
    return content


def _config(path: Path, content: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration in a file, which is YAML that can be JSON too."""
    config = content.get("config") or {}
    if not isinstance(config, dict) or not all(isinstance(key, str) for key in config):
        raise Stop(f"{path.name}: 'config' does not hold a map of keys", EXIT_INPUT)
    try:
        _check_json(config, path.name, (), ())
    except RecursionError:
        raise Stop(f"{path.name} is nested too deep", EXIT_INPUT) from None
    return config


def _check_json(
    value: object, file: str, place: tuple[str | int, ...], around: tuple[int, ...]
) -> None:
    where = f"{file}: {place_of(('config', *place))}"
    if isinstance(value, (dict, list)):
        if id(value) in around:
            raise Stop(f"{where}: it holds itself; write it out, without '*'", EXIT_INPUT)
        around = (*around, id(value))
    if isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(key, (str, int, float, type(None))):
                raise Stop(f"{where}: a key is {_kind(key)}; put it into quotes", EXIT_INPUT)
            _check_json(item, file, (*place, str(key)), around)
    elif isinstance(value, list):
        for position, item in enumerate(value):
            _check_json(item, file, (*place, position), around)
    elif not isinstance(value, (str, int, float, type(None))):
        remedy = "write a list" if isinstance(value, set) else "put it into quotes"
        raise Stop(f"{where}: this is {_kind(value)}; {remedy}", EXIT_INPUT)


def _kind(value: object) -> str:
    if isinstance(value, set):
        return "a set"
    return "a date" if isinstance(value, datetime.date) else shown(value)


def _structured(value: Json) -> Json:
    """Maps and lists may stand in the file as JSON, as the CLI writes them."""
    if isinstance(value, str) and value.lstrip().startswith(("{", "[")):
        try:
            return json.loads(value)
        except (ValueError, RecursionError):
            return value
    return value


def _without_ciphers(value: Json, place: str) -> Json:
    if isinstance(value, dict):
        if set(value) == {"secure"}:
            return Secret(secret_placeholder(place))
        return {key: _without_ciphers(item, f"{place}.{key}") for key, item in value.items()}
    if isinstance(value, list):
        return [_without_ciphers(item, f"{place}.{number}") for number, item in enumerate(value)]
    return value
