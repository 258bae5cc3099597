"""GitHub's expressions: ``${{ secrets.NAME }}``, as far as a description has to be right.

Source: GitHub's documentation, "Evaluate expressions in workflows and actions".
"""

import re

from pulumi_tiers.model.errors import nearest, reject, shown

_EMBEDDED = re.compile(r"\$\{\{((?:'(?:[^']|'')*'|[^'}]|\}(?!\}))*)\}\}")
_TOKEN = re.compile(
    r"\s*(?:(?P<text>'(?:[^']|'')*')|(?P<number>-?(?:0x[\da-fA-F]+|\d+(?:\.\d+)?(?:[eE][+-]?\d+)?))"
    r"|(?P<name>[A-Za-z_][\w-]*)|(?P<binary>==|!=|<=|>=|&&|\|\||[<>])|(?P<sign>[()\[\].,*!]))\s*",
    re.ASCII,
)
_WORDS = ("false", "true", "null", "nan", "infinity")
_CONTEXTS = (
    *("env", "github", "inputs", "job", "jobs", "matrix", "needs", "runner", "secrets", "steps"),
    *("strategy", "vars"),
)
_FUNCTIONS = (
    *("always", "cancelled", "case", "contains", "endsWith", "failure", "format", "fromJSON"),
    *("hashFiles", "join", "startsWith", "success", "toJSON"),
)
# How an expression is made smaller until one operand is left: `n` a name, `o` another operand,
# `b` what stands between two. What binds closest goes first.
_RULES = [
    re.compile(
        r"(?<!\.)n\((?:[no](?:,[no])*)?\)|(?<![no])\([no]\)"
        r"|(?<!\.)[no](?:\.n(?!\()|\.\*|\[[no*]\])+"
    ),
    re.compile(r"![no](?![.(\[])"),
    re.compile(r"(?<![.!])[no]b[no](?![.(\[])"),
]
_LONGEST = 21_000
"""Characters that GitHub takes."""
_DEEPEST = 150


def expressions_in(text: str) -> list[str]:
    """The expressions of a text, without ``${{`` and ``}}``."""
    return _EMBEDDED.findall(text)


def check_expressions(text: str) -> None:
    """Raises where a text holds an expression that GitHub would refuse."""
    if "${{" in _EMBEDDED.sub("", text):
        raise reject(f"{shown(text)} has an expression without an end", "close it with '}}'")
    for expression in expressions_in(text):
        check_expression(expression)


def check_expression(expression: str) -> None:
    """Raises where GitHub would refuse the expression."""
    tokens = _tokens(expression)
    kinds = {"text": "o", "number": "o", "name": "n", "binary": "b"}
    smaller = "".join(kinds.get(kind, token) for kind, token in tokens)
    for _ in range(_DEEPEST):
        if smaller in ("", "n", "o"):
            break
        smaller = next((made for rule in _RULES if (made := rule.sub("o", smaller)) != smaller), "")
    if smaller not in ("n", "o"):
        raise reject(
            f"{shown(expression.strip())} is not an expression of GitHub's",
            "write it like github.ref == 'refs/heads/main' && !cancelled(): look at its brackets,"
            " and at what stands between two values",
        )
    _check_names(tokens)


def _tokens(expression: str) -> list[tuple[str, str]]:
    """Kind and text of each."""
    found: list[tuple[str, str]] = []
    position = 0
    while position < len(expression):
        match = _TOKEN.match(expression, position)
        if match is None or match.lastgroup is None:
            break
        found.append((match.lastgroup, match[match.lastgroup]))
        position = match.end()
    if position < len(expression) or not found or len(expression) > _LONGEST:
        raise reject(
            f"{shown(expression.strip())} is not an expression of GitHub's",
            "write it like github.ref == 'refs/heads/main': texts stand in single quotes",
        )
    return found


def _check_names(tokens: list[tuple[str, str]]) -> None:
    texts = ["", *(token for _, token in tokens), ""]
    for before, (kind, name), after in zip(texts, tokens, texts[2:], strict=False):
        if kind == "name" and before != ".":
            known = _FUNCTIONS if after == "(" else (*_CONTEXTS, *_WORDS)
            if name.lower() not in {word.lower() for word in known}:
                raise reject(f"GitHub's expressions have no '{name}'", nearest(name, known))


def uses_of(text: str, context: str) -> list[str]:
    """What a text uses of `context`: ``secrets`` or ``vars``. An empty name: all of it."""
    return [name for expression in expressions_in(text) for name in used_by(expression, context)]


def used_by(expression: str, context: str) -> list[str]:
    """What an expression uses of `context`, whose name GitHub takes in any case."""
    # What stands in quotes is no name.
    bare = re.sub(r"'(?:[^']|'')*'", "''", expression)
    use = rf"(?<![\w.-]){context}\b(?![\w-])(?:\s*\.\s*([A-Za-z_][\w-]*))?"
    return [match[1] or "" for match in re.finditer(use, bare, re.IGNORECASE)]
