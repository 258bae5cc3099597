"""Refusals as GitHub words them."""

from collections.abc import Mapping

DOCUMENTATION = "https://docs.github.com/rest"


class RefusedError(Exception):
    """Ends a request with this answer."""

    def __init__(
        self,
        status: int,
        message: str,
        headers: Mapping[str, str] | None = None,
        documentation: str = DOCUMENTATION,
        errors: tuple[str, ...] = (),
    ) -> None:
        super().__init__(f"{status} {message}")
        self.status = status
        self.message = message
        self.headers = dict(headers or {})
        self.documentation = documentation
        self.errors = errors


def not_found() -> RefusedError:
    return RefusedError(404, "Not Found")


def invalid(*errors: str) -> RefusedError:
    return RefusedError(422, "Validation Failed", errors=errors)
