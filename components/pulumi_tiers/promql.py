"""PromQL: whether it can be evaluated, and which metrics it names."""

from pulumi_tiers.model.errors import reject

_LONGEST = 4000


def check_expression(text: str) -> str:
    """The text, if it is PromQL that an alert can have. Raises pydantic's error."""
    # The parser is compiled code, which not every program needs.
    import promql_parser

    if len(text) > _LONGEST:
        raise reject(
            f"this expression has {len(text)} characters", f"write at most {_LONGEST}, or two rules"
        )
    try:
        parsed = promql_parser.parse(text)
    except ValueError as error:
        remedy = "correct it; 'promtool check rules' and Prometheus' own page show where it is"
        raise reject(f"this is not PromQL: {error}", remedy) from None
    # An alert is made for each series; these are none.
    kinds = (promql_parser.MatrixSelector, promql_parser.StringLiteral)
    if isinstance(parsed, kinds):
        raise reject("this is neither a vector nor a number", "compare a vector: 'up == 0'")
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
