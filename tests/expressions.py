"""GitHub's workflow expressions and filter patterns, for the stand-in of a runner in tests.

No library for Python evaluates them. Source of the rules: GitHub's documentation, "Evaluate
expressions in workflows and actions" and "Filter pattern cheat sheet".
"""

import json
import math
import operator
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

Function = Callable[..., Any]
Contexts = Mapping[str, Any]
_Node = Callable[[], Any]

_TOKEN = re.compile(
    r"\s*(?:(?P<text>'(?:[^']|'')*')|(?P<number>-?(?:0x[\da-fA-F]+|\d+(?:\.\d+)?(?:[eE][+-]?\d+)?))"
    r"|(?P<name>[A-Za-z_][\w-]*)|(?P<sign>==|!=|<=|>=|&&|\|\||[()\[\].,*!<>]))"
)
_EMBEDDED = re.compile(r"\$\{\{((?:'(?:[^']|'')*'|[^'}]|\}(?!\}))*)\}\}")
_STATUS = re.compile(r"\b(success|failure|always|cancelled)\s*\(", re.IGNORECASE)


_SIGNS: dict[str, Callable[[Any, Any], bool]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


class ExpressionError(Exception):
    """GitHub would refuse the workflow."""


class _Filtered(list[Any]):
    """What `.*` gives: the next property is taken of each of its members."""


def truthy(value: Any) -> bool:
    return not (value is None or value in (False, 0, "") or value != value)


def as_text(value: Any) -> str:
    match value:
        case None:
            return ""
        case bool():
            return str(value).lower()
        case float():
            return str(int(value)) if value.is_integer() else str(value)
        case Mapping():
            return "Object"
        case list():
            return "Array"
        case _:
            return str(value)


def _number(value: Any) -> float:
    match value:
        case None:
            return 0
        case bool() | int() | float():
            return float(value)
        case str():
            try:
                text = value.strip()
                return float(int(text, 16) if text.startswith("0x") else text or 0)
            except ValueError:
                return math.nan
        case _:
            return math.nan


def _compare(sign: str, left: Any, right: Any) -> bool:
    """Texts without case; what is of two kinds as numbers."""
    if isinstance(left, str) and isinstance(right, str):
        return _SIGNS[sign](left.upper(), right.upper())
    if isinstance(left, (Mapping, list)) and isinstance(right, (Mapping, list)):
        return _SIGNS[sign](id(left), id(right))
    return _SIGNS[sign](_number(left), _number(right))


def _property(value: Any, key: Any) -> Any:
    if isinstance(value, _Filtered):
        found = [_property(each, key) for each in value]
        return _Filtered(each for each in found if each is not None)
    if isinstance(value, Mapping):
        folded = {str(name).casefold(): each for name, each in value.items()}
        return folded.get(as_text(key).casefold())
    if isinstance(value, list) and not isinstance(key, str) and 0 <= key < len(value):
        return value[int(key)]
    return None


def _contains(search: Any, item: Any) -> bool:
    if isinstance(search, list):
        return any(_compare("==", each, item) for each in search)
    return as_text(item).upper() in as_text(search).upper()


def _format(text: str, *values: Any) -> str:
    return re.sub(
        r"\{\{|\}\}|\{(\d+)\}",
        lambda found: as_text(values[int(found[1])]) if found[1] else found[0][0],
        text,
    )


def _join(values: Any, separator: str = ",") -> str:
    return separator.join(map(as_text, values if isinstance(values, list) else [values]))


def _starts(text: Any, start: Any) -> bool:
    return as_text(text).upper().startswith(as_text(start).upper())


def _ends(text: Any, end: Any) -> bool:
    return as_text(text).upper().endswith(as_text(end).upper())


def _json(value: Any) -> str:
    return json.dumps(value, indent=2)


_FUNCTIONS: dict[str, Function] = {
    "contains": _contains,
    "startswith": _starts,
    "endswith": _ends,
    "format": _format,
    "join": _join,
    "tojson": _json,
    "fromjson": json.loads,
}


class _Parser:
    """Recursive descent; a node is a function without arguments, so that `&&` can stop early."""

    def __init__(self, text: str, contexts: Contexts, functions: Mapping[str, Function]) -> None:
        self.text, self.contexts = text, contexts
        self.functions = {**_FUNCTIONS, **{k.lower(): each for k, each in functions.items()}}
        self.tokens: list[tuple[str, str]] = []
        at = 0
        while text[at:].strip():
            found = _TOKEN.match(text, at)
            if not found:
                raise ExpressionError(f"{text[at:].strip()!r} in {text!r}")
            self.tokens.append((str(found.lastgroup), found[found.lastgroup or 0]))
            at = found.end()

    def parse(self) -> _Node:
        node = self._any()
        if self.tokens:
            raise ExpressionError(f"{self.tokens[0][1]!r} in {self.text!r}")
        return node

    def _next(self, *signs: str) -> str:
        """The sign that comes next, if it is one of these; takes it."""
        if self.tokens and self.tokens[0][0] == "sign" and self.tokens[0][1] in signs:
            return self.tokens.pop(0)[1]
        return ""

    def _expect(self, sign: str) -> None:
        if not self._next(sign):
            raise ExpressionError(f"{sign!r} is missing in {self.text!r}")

    def _any(self) -> _Node:
        left = self._all()
        while self._next("||"):
            left = _either(left, self._all())
        return left

    def _all(self) -> _Node:
        left = self._comparison()
        while self._next("&&"):
            left = _both(left, self._comparison())
        return left

    def _comparison(self) -> _Node:
        left = self._negation()
        while sign := self._next("==", "!=", "<", "<=", ">", ">="):
            left = _compared(sign, left, self._negation())
        return left

    def _negation(self) -> _Node:
        if self._next("!"):
            node = self._negation()
            return lambda: not truthy(node())
        return self._access()

    def _access(self) -> _Node:
        node = self._primary()
        while sign := self._next(".", "["):
            if self._next("*"):
                node = _members(node)
            elif sign == "[":
                node = _part(node, self._any())
            else:
                kind, name = self.tokens.pop(0) if self.tokens else ("", "")
                if kind != "name":
                    raise ExpressionError(f"a name is missing after . in {self.text!r}")
                node = _part(node, lambda name=name: name)
            if sign == "[":
                self._expect("]")
        return node

    def _primary(self) -> _Node:
        if self._next("("):
            node = self._any()
            self._expect(")")
            return node
        kind, token = self.tokens.pop(0) if self.tokens else ("", "")
        match kind, token.lower():
            case "text", _:
                return lambda: token[1:-1].replace("''", "'")
            case "number", _:
                return lambda: _number(token)
            case "name", ("true" | "false" | "null") as literal:
                return lambda: {"true": True, "false": False, "null": None}[literal]
            case "name", name if self._next("("):
                return self._call(name)
            case "name", name if name in self.contexts:
                return lambda: self.contexts[name]
            case _:
                raise ExpressionError(f"{token!r} is not known here: {self.text!r}")

    def _call(self, name: str) -> _Node:
        arguments: list[_Node] = []
        while not self._next(")"):
            if arguments:
                self._expect(",")
            arguments.append(self._any())
        if name not in self.functions:
            raise ExpressionError(f"no function {name!r} here: {self.text!r}")
        return lambda: self.functions[name](*(each() for each in arguments))


def _either(left: _Node, right: _Node) -> _Node:
    return lambda: value if truthy(value := left()) else right()


def _both(left: _Node, right: _Node) -> _Node:
    return lambda: right() if truthy(value := left()) else value


def _compared(sign: str, left: _Node, right: _Node) -> _Node:
    return lambda: _compare(sign, left(), right())


def _part(node: _Node, key: _Node) -> _Node:
    return lambda: _property(node(), key())


def _members(node: _Node) -> _Node:
    def members() -> _Filtered:
        value = node()
        return _Filtered(value.values() if isinstance(value, Mapping) else value or [])

    return members


def evaluate(text: str, contexts: Contexts, functions: Mapping[str, Function]) -> Any:
    """The value of what stands between ``${{`` and ``}}``."""
    return _Parser(text, contexts, functions).parse()()


def expand(value: Any, contexts: Contexts, functions: Mapping[str, Function] | None = None) -> Any:
    """`value` with each expression in it replaced; a text that is one expression keeps its type."""
    given = functions or {}
    if isinstance(value, Mapping):
        return {key: expand(each, contexts, given) for key, each in value.items()}
    if isinstance(value, list):
        return [expand(each, contexts, given) for each in value]
    if not isinstance(value, str):
        return value
    if whole := _EMBEDDED.fullmatch(value.strip()):
        return evaluate(whole[1], contexts, given)
    return _EMBEDDED.sub(lambda found: as_text(evaluate(found[1], contexts, given)), value)


def holds(condition: Any, contexts: Contexts, functions: Mapping[str, Function]) -> bool:
    """Whether an ``if:`` lets its job or step run; without a status function, only on success."""
    if not isinstance(condition, str):
        condition = as_text(condition) or "true"
    # An expression beside other text makes a text, which is true: a well-known trap.
    embedded = "${{" in condition
    value = (
        expand(condition, contexts, functions)
        if embedded
        else evaluate(condition, contexts, functions)
    )
    asks = _STATUS.search(re.sub(r"'(?:[^']|'')*'", "", condition))
    return truthy(value) and (bool(asks) or truthy(functions["success"]()))


def _pattern(glob: str) -> re.Pattern[str]:
    """``*`` and ``**`` match characters; ``?`` and ``+`` count the one before them."""
    tokens = re.findall(r"\\.|\*\*/|\*\*|\*|\[[^]]+\]|[?+]|.", glob)
    meaning = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "?", "+": "+"}
    return re.compile("".join(meaning.get(each) or _literal(each) for each in tokens))


def _literal(token: str) -> str:
    return token if token[0] == "[" and len(token) > 1 else re.escape(token[-1])


def selected(name: str, globs: Iterable[str]) -> bool:
    """Whether the last of `globs` that matches `name` is one without ``!``."""
    chosen = False
    for glob in globs:
        if _pattern(glob.removeprefix("!")).fullmatch(name):
            chosen = not glob.startswith("!")
    return chosen
