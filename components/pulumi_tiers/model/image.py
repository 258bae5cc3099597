"""Image references, and where closed networks keep their copies."""

import re
from dataclasses import dataclass

from pulumi_tiers.model.errors import reject

# The grammar of github.com/distribution/reference, which Docker itself uses.
_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_LABEL = r"(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])"
_REFERENCE = re.compile(
    rf"(?:(?P<registry>{_LABEL}(?:\.{_LABEL})+(?::\d+)?|{_LABEL}:\d+|localhost)/)?"
    rf"(?P<repository>{_COMPONENT}(?:/{_COMPONENT})*)"
    r"(?::(?P<tag>\w[\w.-]{0,127}))?"
    r"(?:@(?P<digest>[A-Za-z][A-Za-z0-9]*(?:[-_+.][A-Za-z][A-Za-z0-9]*)*:[0-9a-fA-F]{32,}))?"
)
DOCKER_HUB = "docker.io"


@dataclass(frozen=True)
class Image:
    """A parsed image reference. `registry` is ``docker.io`` where the reference names none."""

    registry: str
    repository: str
    tag: str | None
    digest: str | None

    @classmethod
    def parse(cls, reference: str) -> "Image":
        match = _REFERENCE.fullmatch(reference)
        if match is None:
            raise reject(
                f"{reference!r} is not an image reference",
                "write it like 'postgres:15' or 'ghcr.io/owner/name:tag', in lower case",
            )
        return cls(
            match["registry"] or DOCKER_HUB, match["repository"], match["tag"], match["digest"]
        )

    def __str__(self) -> str:
        name = (
            self.repository if self.registry == DOCKER_HUB else f"{self.registry}/{self.repository}"
        )
        tag = f":{self.tag}" if self.tag else ""
        digest = f"@{self.digest}" if self.digest else ""
        return name + tag + digest


def check_image(reference: str) -> str:
    Image.parse(reference)
    return reference


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
            replacement = replacement.rstrip("/")
            # A prefix is right when an image below it can be parsed.
            for label, value in (("prefix", prefix), ("replacement", replacement)):
                if (value or label == "replacement") and not _is_prefix(value):
                    raise reject(
                        f"{part!r} is not a rule for images: its {label} {value!r} is not a registry",
                        "write 'mirror.example.com/hub', or 'docker.io=mirror.example.com/hub'",
                    )
            if found and not prefix:
                raise reject(
                    f"{part!r} has nothing before '='", "leave '=' out to rewrite every image"
                )
            rules.append((prefix.rstrip("/"), replacement))
        # The longest prefix wins; the empty one comes last.
        return cls(tuple(sorted(rules, key=lambda rule: -len(rule[0]))))

    def apply(self, reference: str) -> str:
        image = Image.parse(reference)
        full = f"{image.registry}/{image.repository}"
        for prefix, replacement in self.rules:
            if not prefix:
                return reference.replace(
                    str(image), f"{replacement}/{self._tail(image, image.repository)}"
                )
            if full == prefix or full.startswith(prefix + "/"):
                rest = full.removeprefix(prefix).removeprefix("/")
                return f"{replacement}/{self._tail(image, rest)}"
        return reference

    @staticmethod
    def _tail(image: Image, repository: str) -> str:
        return str(Image(DOCKER_HUB, repository, image.tag, image.digest))


def _is_prefix(text: str) -> bool:
    match = _REFERENCE.fullmatch(text.rstrip("/") + "/x")
    return match is not None and match["registry"] is not None
