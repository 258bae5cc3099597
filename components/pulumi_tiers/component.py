"""What all components share: names that carry their parent's, and one way to say what is wrong."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from itertools import chain
from typing import Any, TypeVar, get_type_hints

import pulumi
from pydantic import TypeAdapter, ValidationError

from pulumi_tiers.model.errors import DescriptionError, Mistake, mistakes_of, shown
from pulumi_tiers.model.system import Target

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


def refuse(*mistakes: Iterable[Mistake]) -> None:
    """Raises RefusedError if there are any."""
    if found := list(chain(*mistakes)):
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


def check_provider(
    place: str, target: Target, opts: pulumi.ResourceOptions | None
) -> Iterator[Mistake]:
    """Whether what is placed on DigitalOcean is given the provider of its cluster."""
    if target is Target.DIGITALOCEAN and not _has_provider(opts or pulumi.ResourceOptions()):
        yield Mistake(
            f"{place}: opts",
            "without the cluster's provider, everything would go to the one of your kubeconfig",
            "pass opts=ResourceOptions(providers=[cluster.provider])",
        )


def _has_provider(opts: pulumi.ResourceOptions) -> bool:
    given = opts.providers or []
    known = [*(given.values() if isinstance(given, Mapping) else given), opts.provider]
    if any(provider and provider.package == "kubernetes" for provider in known):
        return True
    # Behind the plugin boundary only the engine knows what a parent has.
    return opts.parent is not None and (
        isinstance(opts.parent, pulumi.resource.DependencyResource)
        or opts.parent.get_provider("kubernetes:core/v1:Namespace") is not None
    )
