"""nginx's configuration as data, and as text: what this library needs of crossplane."""

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import crossplane

_MAPS = ("map", "geo")


class SyntaxMistakeError(ValueError):
    """nginx could not read this."""


@dataclass(frozen=True)
class Directive:
    """One directive: ``name arguments;`` or, with a block, ``name arguments { ... }``."""

    name: str
    arguments: tuple[str, ...] = ()
    block: "tuple[Directive, ...] | None" = field(default=None)


Block: TypeAlias = "tuple[Directive, ...]"


def text_of(block: Sequence[Directive]) -> str:
    """The configuration's text.

    Raises SyntaxMistakeError if it would be read as anything else than what was given: crossplane
    puts quotes where they are needed, and not around everything that needs them.
    """
    text: str = crossplane.build([_statement(item) for item in block])
    if _read(text, check_ctx=False, check_args=False) != tuple(block):
        raise SyntaxMistakeError("this can't be written so that nginx reads the same")
    return f"{text}\n"


def _statement(directive: Directive) -> dict[str, Any]:
    statement: dict[str, Any] = {"directive": directive.name, "args": list(directive.arguments)}
    if directive.block is not None:
        statement["block"] = [_statement(item) for item in directive.block]
    return statement


def parse(text: str, *, strict: bool = False) -> Block:
    """Reads a whole configuration, without the files that it includes.

    `strict`: refuses directives that crossplane doesn't know, such as those of added modules; maps,
    whose rows begin with anything, are left out.
    Raises SyntaxMistakeError.
    """
    return _read(text, strict=strict, ignore=_MAPS if strict else ())


def _read(text: str, **options: Any) -> Block:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "nginx.conf"
        path.write_text(text, encoding="utf-8")
        # It has no types.
        found: Any = crossplane.parse(str(path), single=True, **options)
    for error in found["errors"]:
        # "<what> in <file>:<line>"
        what = str(error["error"]).partition(f" in {path}")[0]
        raise SyntaxMistakeError(f"line {error['line']}: {what}" if error["line"] else what)
    return _directives(found["config"][0]["parsed"])


def _directives(statements: Sequence[Mapping[str, Any]]) -> Block:
    return tuple(
        Directive(
            str(statement["directive"]),
            tuple(str(argument) for argument in statement["args"]),
            _directives(statement["block"]) if "block" in statement else None,
        )
        for statement in statements
    )


def parse_block(text: str, context: Sequence[str]) -> Block:
    """Directives as they stand inside blocks, such as ``("http", "server")``.

    Raises SyntaxMistakeError if they don't belong there, or end the block that they are in.
    """
    opened = " ".join(f"{name} {{" for name in context)
    found = parse(f"{opened}{text}\n{'}' * len(context)}")
    for name in context:
        if [item.name for item in found] != [name] or found[0].block is None:
            raise SyntaxMistakeError('unexpected "}"')
        found = found[0].block
    return found
