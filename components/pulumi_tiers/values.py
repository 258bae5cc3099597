"""References in a description become the values of resources."""

from collections.abc import Callable, Mapping

import pulumi

from pulumi_tiers.model.references import CONCURRENCY, Reference, references, substitute
from pulumi_tiers.model.workload import Workload


def resolve(
    text: pulumi.Input[str], value: Callable[[Reference], pulumi.Input[str]]
) -> pulumi.Input[str]:
    """The text with its references replaced: plain where every value is, else an Output."""
    if not isinstance(text, str):
        return text
    values: dict[str, pulumi.Input[str]] = {
        reference.text: value(reference) for reference in references(text)
    }
    plain = {key: item for key, item in values.items() if isinstance(item, str)}
    if len(plain) == len(values):
        return substitute(text, lambda reference: plain[reference.text])
    return pulumi.Output.all(**values).apply(
        lambda known: substitute(text, lambda reference: str(known[reference.text]))
    )


def resolved(workload: Workload, value: Callable[[Reference], pulumi.Input[str]]) -> Workload:
    """The workload with the references in its environment and its secrets replaced."""

    workload = with_concurrency(workload)

    def each(texts: Mapping[str, pulumi.Input[str]]) -> dict[str, pulumi.Input[str]]:
        return {variable: resolve(text, value) for variable, text in texts.items()}

    init = workload.init
    return workload.model_copy(
        update={
            "environment": each(workload.environment),
            "secrets": each(workload.secrets),
            "secret_files": each(workload.secret_files),
            "init": init
            and init.model_copy(
                update={"environment": each(init.environment), "secrets": each(init.secrets)}
            ),
        }
    )


def with_concurrency(workload: Workload) -> Workload:
    """The workload with its number of jobs at a time where its texts name it."""
    if workload.concurrency is None:
        return workload
    number = str(workload.concurrency)

    def put(text: pulumi.Input[str]) -> pulumi.Input[str]:
        return text.replace(CONCURRENCY, number) if isinstance(text, str) else text

    return workload.model_copy(
        update={
            "entrypoint": [put(text) for text in workload.entrypoint],
            "command": [put(text) for text in workload.command],
            "environment": {name: put(text) for name, text in workload.environment.items()},
        }
    )
