"""Image references, and where closed networks keep their copies."""

import re
from dataclasses import dataclass
from typing import Annotated

from pydantic import AfterValidator

from pulumi_tiers.model.base import Model, PlainText, Text
from pulumi_tiers.model.errors import reject, shown

# The grammar of github.com/distribution/reference, which Docker itself uses.
_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_LABEL = r"(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])"
_REFERENCE = re.compile(
    rf"(?:(?P<registry>{_LABEL}(?:\.{_LABEL})+(?::\d+)?|{_LABEL}:\d+|localhost)/)?"
    rf"(?P<repository>{_COMPONENT}(?:/{_COMPONENT})*)"
    r"(?::(?P<tag>\w[\w.-]{0,127}))?"
    # The algorithms that Docker knows, each with its length.
    r"(?:@(?P<digest>sha256:[0-9a-f]{64}|sha384:[0-9a-f]{96}|sha512:[0-9a-f]{128}))?",
    re.ASCII,
)
_LONGEST_NAME = 255
_LONGEST = _LONGEST_NAME + len(":") + 128 + len("@sha512:") + 128
DOCKER_HUB = "docker.io"
_OFFICIAL = f"{DOCKER_HUB}/library"


@dataclass(frozen=True)
class Image:
    """A parsed image reference. `registry` is ``docker.io`` where the reference names none."""

    registry: str
    repository: str
    tag: str | None
    digest: str | None

    @classmethod
    def parse(cls, reference: str) -> "Image":
        match = _REFERENCE.fullmatch(reference) if len(reference) <= _LONGEST else None
        if match is None:
            raise reject(
                f"{shown(reference)} is not an image reference",
                "write it like 'postgres:15' or 'ghcr.io/owner/name:tag', in lower case",
            )
        registry, repository = match["registry"] or DOCKER_HUB, match["repository"]
        if len(f"{registry}/{repository}") > _LONGEST_NAME:
            raise reject(
                f"the image's name {shown(reference)} is too long",
                f"use at most {_LONGEST_NAME} characters before the tag",
            )
        return cls(registry, repository, match["tag"], match["digest"])

    def __str__(self) -> str:
        name = (
            self.repository if self.registry == DOCKER_HUB else f"{self.registry}/{self.repository}"
        )
        return name + self.version

    @property
    def version(self) -> str:
        """What follows the name."""
        return (f":{self.tag}" if self.tag else "") + (f"@{self.digest}" if self.digest else "")


def check_image(reference: str) -> str:
    """The reference as it is. Raises where it is none."""
    Image.parse(reference)
    return reference


def _image(value: object) -> object:
    return check_image(value) if isinstance(value, str) else value


ImageReference = Annotated[Text, AfterValidator(_image)]
"""An image as `docker pull` takes it."""


@dataclass(frozen=True)
class Mirrors:
    """Where images come from instead: `rules` maps a prefix (``docker.io``) to its replacement.

    The empty prefix stands for every registry.
    """

    rules: tuple[tuple[str, str], ...] = ()

    @classmethod
    def parse(cls, text: str) -> "Mirrors":
        """``"mirror.example.com/hub"`` for everything, or ``"docker.io=…,ghcr.io=…"``."""
        rules: list[tuple[str, str]] = []
        for part in (piece.strip() for piece in text.split(",")):
            if not part:
                continue
            prefix, found, replacement = part.rpartition("=")
            prefix, replacement = prefix.rstrip("/"), replacement.rstrip("/")
            # A prefix is right when an image below it can be parsed.
            for label, value in (("prefix", prefix), ("replacement", replacement)):
                if (value or label == "replacement") and not _is_prefix(value):
                    raise reject(
                        f"{shown(part)} is not a rule for images:"
                        f" its {label} {shown(value)} is not a registry",
                        "write 'mirror.example.com/hub', or 'docker.io=mirror.example.com/hub'",
                    )
            if found and not prefix:
                raise reject(
                    f"{shown(part)} has nothing before '='", "leave '=' out to rewrite every image"
                )
            if prefix in dict(rules):
                raise reject(
                    f"two rules for {prefix or 'every image'}: {shown(dict(rules)[prefix])}"
                    f" and {shown(replacement)}",
                    "keep one of them",
                )
            rules.append((prefix, replacement))
        # The longest prefix wins; the empty one comes last.
        return cls(tuple(sorted(rules, key=lambda rule: -len(rule[0]))))

    def apply(self, reference: str) -> str:
        image = Image.parse(reference)
        full = f"{image.registry}/{image.repository}"
        for prefix, replacement in self.rules:
            # Docker Hub's own images have a second name.
            official = prefix.startswith(_OFFICIAL) and "/" not in image.repository
            name = full.replace(DOCKER_HUB, _OFFICIAL, 1) if official else full
            if prefix and not _below(name, prefix):
                continue
            if _below(full, replacement):
                return reference  # it comes from there already
            rest = name.removeprefix(prefix) if prefix else f"/{image.repository}"
            return f"{replacement}{rest}{image.version}"
        return reference


def _below(name: str, prefix: str) -> bool:
    return name == prefix or name.startswith(f"{prefix}/")


def _is_prefix(text: str) -> bool:
    match = _REFERENCE.fullmatch(f"{text}/x") if len(text) <= _LONGEST_NAME else None
    return match is not None and match["registry"] is not None


def _registry(value: str) -> str:
    remedy = "write its host in lower case: 'docker.io' or 'ghcr.io'"
    if "@" in value:  # what stands before it may be a password
        raise reject("a registry holds no '@'", f"{remedy}; the user goes into 'username'")
    _, _, port = value.partition(":")
    if not _is_prefix(value) or "/" in value or value != value.lower():
        raise reject(f"{shown(value)} is not a registry", remedy)
    if port and not 1 <= int(port[:6]) <= 65535:
        raise reject(
            f"{shown(value)} is not a registry: {port[:6]} is not a port", "use 1 to 65535"
        )
    if value == f"index.{DOCKER_HUB}":
        # Docker's own word for it, and a second login for the same registry.
        raise reject(f"{value!r} is Docker Hub", f"write '{DOCKER_HUB}'")
    return value


Registry = Annotated[str, AfterValidator(_registry)]
"""The host of an image registry: ``docker.io``, ``registry.example.com:5000``."""


def _given(value: object) -> object:
    # An Output's value is not known here.
    if isinstance(value, str) and not value.strip():
        raise reject("the text is empty", "give what the registry asks for")
    return value


class RegistryLogin(Model):
    """Who pulls from a private registry."""

    username: Annotated[PlainText, AfterValidator(_given)]
    #: Better a token that can do nothing but pull.
    password: Annotated[Text, AfterValidator(_given)]
