"""What all components share: names that carry their parent's, and one way to say what is wrong."""

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, TypeVar, get_type_hints

import pulumi
from pydantic import TypeAdapter, ValidationError

from pulumi_tiers.model.errors import DescriptionError, Mistake, mistakes_of, shown

PACKAGE = "tiers-components"
"""The plugin's package name: the first part of every component's type token."""

T = TypeVar("T")


class Component(pulumi.ComponentResource):
    """A component whose children are called ``<its name>-<suffix>``, so two fit into one stack."""

    def __init__(self, name: str, opts: pulumi.ResourceOptions | None) -> None:
        self.logical_name = name
        merged = pulumi.ResourceOptions.merge(
            opts, pulumi.ResourceOptions(transformations=[_refuse_other_names(name)])
        )
        super().__init__(f"{PACKAGE}:index:{type(self).__name__}", name, {}, merged)

    def child(self, suffix: str) -> str:
        """The logical name of a child."""
        return f"{self.logical_name}-{suffix}"

    def child_options(self, **options: Any) -> pulumi.ResourceOptions:
        return pulumi.ResourceOptions(parent=self, **options)


def _refuse_other_names(
    parent: str,
) -> Callable[[pulumi.ResourceTransformationArgs], pulumi.ResourceTransformationResult | None]:
    def check(args: pulumi.ResourceTransformationArgs) -> None:
        # The component itself passes here too.
        if args.name != parent and not args.name.startswith(f"{parent}-"):
            raise pulumi.RunError(
                f"the child '{args.name}' of '{parent}' must be called '{parent}-...': "
                "a second instance of the component would make the same name again"
            )

    return check


class RefusedError(DescriptionError, pulumi.RunError):
    """The engine prints a RunError without a traceback, in anybody's program."""


def refuse(mistakes: Iterable[Mistake]) -> None:
    """Raises RefusedError if there are any."""
    if found := list(mistakes):
        raise RefusedError(found)


def validated(
    kind: type[T], args: Mapping[str, Any], component: str, given: Collection[str] = ()
) -> T:
    """The arguments as a model, without those that are `given` by other components.

    Raises RefusedError with all mistakes, before any resource.
    """
    # Programs without a type checker, and YAML, pass anything.
    if not isinstance(args, Mapping):
        why = f"the arguments are {shown(args)}"
        refuse([Mistake(component, why, "pass a map of them; without any, pass {}")])
    if "site" in get_type_hints(kind) and not isinstance(args.get("site"), Mapping):
        refuse([Mistake(f"{component}: site", "is missing", "pass a Site's 'ref'")])
    try:
        own = {key: value for key, value in args.items() if key not in given}
        return TypeAdapter(kind).validate_python(own)
    except ValidationError as error:
        raise RefusedError(mistakes_of(error, component)) from None
