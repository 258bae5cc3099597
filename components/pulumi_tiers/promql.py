"""PromQL: whether it can be evaluated, and which metrics it names."""

import re

from pulumi_tiers.model.errors import reject, shown

_LONGEST = 4000
_DEEPEST = 100


def check_expression(text: str) -> str:
    """The text, if it is PromQL that an alert can have. Raises pydantic's error."""
    # The parser is compiled code, which not every program needs.
    import promql_parser

    if len(text) > _LONGEST:
        raise reject(
            f"this expression has {len(text)} characters", f"write at most {_LONGEST}, or two rules"
        )
    # The time that it takes grows with the cube of the depth.
    if _depth(text) > _DEEPEST:
        why = f"more than {_DEEPEST} brackets or signs stand within each other"
        raise reject(why, "write it shorter, or two rules")
    try:
        parsed = promql_parser.parse(text)
    except ValueError as error:
        # All that the parser says where something is missing at the end.
        said = "it ends too early" if str(error) == "invalid promql query" else str(error)
        remedy = "correct it; 'promtool check rules' and Prometheus' own page show where it is"
        raise reject(f"this is not PromQL: {said}", remedy) from None
    # An alert is made for each series; these are none.
    kinds = (promql_parser.MatrixSelector, promql_parser.StringLiteral)
    if isinstance(parsed, kinds):
        raise reject("this is neither a vector nor a number", "compare a vector: 'up == 0'")
    return text


def _depth(text: str) -> int:
    deepest = depth = 0
    for character in text:
        depth += (character in "([{") - (character in ")]}")
        deepest = max(deepest, depth)
    signs = [len(run) for run in re.findall(r"(?:[-+]\s*)+", text)]
    return max([deepest, *signs])


_ACTION = re.compile(r"\{\{-?(.*?)-?\}\}", re.DOTALL)
_TEXTS = re.compile(r'"(?:[^"\\\n]|\\.)*"|`[^`]*`')
_OPENING = frozenset({"if", "range", "with"})
#: https://prometheus.io/docs/prometheus/latest/configuration/template_reference/, and Go's own.
_FUNCTIONS = frozenset(
    {"and", "args", "call", "eq", "externalURL", "first", "ge", "graphLink", "gt", "html"}
    | {"humanize", "humanize1024", "humanizeDuration", "humanizePercentage", "humanizeTimestamp"}
    | {"index", "js", "label", "le", "len", "lt", "match", "ne", "not", "now", "or"}
    | {"parseDuration", "pathPrefix", "print", "printf", "println", "query", "reReplaceAll"}
    | {"safeHtml", "slice", "sortByLabel", "stripDomain", "stripPort", "strvalue", "tableLink"}
    | {"title", "tmpl", "toDuration", "toLower", "toTime", "toUpper", "urlquery", "value", "true"}
    | {"false", "nil", "else", "end", "define", "template", "block", "break", "continue"}
)


def check_template(text: str) -> str:
    """The text, if Prometheus takes it as a template. Raises pydantic's error."""
    remedy = "write it like '{{ $labels.job }}' or '{{ $value | humanize }}'"
    rest = _ACTION.sub("", text)
    if "{{" in rest:
        raise reject("a '{{' has no '}}'", remedy)
    open_blocks = 0
    declared = {"$labels", "$value", "$externalLabels", "$externalURL", "$"}
    for action in _ACTION.findall(text):
        plain = _TEXTS.sub(" ", action).strip()
        if not _TEXTS.sub("x", action).strip():
            raise reject("a '{{ }}' is empty", remedy)
        if plain.startswith("/*"):
            continue
        declared |= set(re.findall(r"(\$\w+)\s*(?=,|:=)", plain))
        words = re.findall(r"(?<![\w.$])([A-Za-z_]\w*)", plain)
        unknown = [word for word in words if word not in _FUNCTIONS | _OPENING]
        unknown += [name for name in re.findall(r"\$\w*", plain) if name not in declared]
        if unknown:
            raise reject(f"Prometheus' templates know no {shown(unknown[0])}", remedy)
        first = words[0] if words and plain.startswith(words[0]) else ""
        open_blocks += (first in _OPENING | {"define", "block"}) - (first == "end")
        if open_blocks < 0 or (first in _OPENING and plain == first and '"' not in action):
            raise reject(f"the '{first}' of a template belongs to nothing", remedy)
    if open_blocks:
        raise reject("an 'if', 'range' or 'with' of a template has no 'end'", remedy)
    return text


def metrics_in(text: str) -> frozenset[str]:
    """The names of the metrics in an expression that `check_expression` takes.

    Selectors without a name, such as ``{job="api"}``, count as none.
    """
    import promql_parser

    found: set[str] = set()

    def visit(expression: promql_parser.Expr) -> None:
        if isinstance(expression, promql_parser.MatrixSelector):
            expression = expression.vector_selector
        if isinstance(expression, promql_parser.VectorSelector):
            equal = promql_parser.MatchOp.Equal
            names = [
                matcher.value
                for matcher in expression.matchers.matchers
                if matcher.name == "__name__" and matcher.op == equal
            ]
            found.update(names, [expression.name] if expression.name else [])

    promql_parser.walk(promql_parser.parse(text), visit)
    return frozenset(found)
