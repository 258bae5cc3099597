"""Refusals as DigitalOcean words them: a status, a short id and a message."""

IDS = {
    400: "bad_request",
    401: "Unauthorized",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    409: "conflict",
    412: "precondition_failed",
    422: "unprocessable_entity",
    429: "too_many_requests",
    500: "server_error",
}


class RefusedError(Exception):
    """Ends a request with this answer."""

    def __init__(self, status: int, message: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(f"{status} {message}")
        self.status = status
        self.message = message
        self.headers = headers or {}


def unprocessable(message: str) -> RefusedError:
    return RefusedError(422, message)


def not_found(what: str) -> RefusedError:
    return RefusedError(404, f"{what} not found")
