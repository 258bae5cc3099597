"""The server: listens on loopback, checks the token, plays faults, keeps a log."""

import json
import re
import secrets
import threading
import time
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from werkzeug.exceptions import HTTPException
from werkzeug.routing import Map, Rule
from werkzeug.serving import WSGIRequestHandler, make_server
from werkzeug.wrappers import Request, Response

from github.contents import Contents
from github.errors import RefusedError, not_found
from github.routes import Answer, Call, Json, Route
from github.settings import Settings
from github.world import World

_PREFIX = "/api/v3"
"""What the provider puts before all paths where it doesn't talk to github.com."""


@dataclass(frozen=True)
class Entry:
    """One request as it was answered."""

    method: str
    path: str
    query: dict[str, str]
    body: Json
    status: int

    @property
    def writes(self) -> bool:
        return self.method != "GET"


@dataclass
class Fault:
    """A refusal of the next requests of a method and a path (both patterns)."""

    method: str
    path: str
    times: int
    refusal: RefusedError = field(repr=False)

    def hits(self, method: str, path: str) -> bool:
        wanted = re.fullmatch(self.method, method) and re.fullmatch(self.path, path)
        return self.times > 0 and wanted is not None


class _Handler(WSGIRequestHandler):
    """The double keeps a log of its own."""

    def log(self, type: str, message: str, *args: object) -> None:  # noqa: A002
        """Says nothing."""


class Double:
    """GitHub's REST API, as far as this library uses it. A context manager."""

    def __init__(self, world: World | None = None) -> None:
        self.world = world or World()
        self.token = f"ghp_{secrets.token_hex(18)}"
        self.log: list[Entry] = []
        self._faults: list[Fault] = []
        self._lock = threading.RLock()
        routes: list[Route] = [*Contents(self.world).routes(), *Settings(self.world).routes()]
        self._routes = Map(
            [
                Rule(_PREFIX + path, methods=[method], endpoint=handler)
                for method, path, handler in routes
            ]
        )
        self._server = make_server(
            "127.0.0.1",
            0,
            Request.application(self._serve),
            threaded=True,
            request_handler=_Handler,
        )
        self.url = f"http://127.0.0.1:{self._server.server_port}/"
        # Looks every few milliseconds whether it shall end.
        self._thread = threading.Thread(target=self._server.serve_forever, args=[0.02], daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._server.server_close()

    # --- what a test asks -------------------------------------------------------------------------

    def calls(self, method: str = ".*", path: str = ".*") -> list[Entry]:
        """The requests of a method and a path (both patterns), oldest first."""
        return [
            entry
            for entry in self.log
            if re.fullmatch(method, entry.method) and re.fullmatch(path, entry.path)
        ]

    @property
    def writes(self) -> list[str]:
        """What was changed, or tried: ``PUT /repos/...``."""
        return [f"{entry.method} {entry.path}" for entry in self.log if entry.writes]

    # --- what a test orders -----------------------------------------------------------------------

    def refuse(self, method: str, path: str, status: int, message: str, times: int = 10**6) -> None:
        """The next requests are refused."""
        self._faults.append(Fault(method, path, times, RefusedError(status, message)))

    def limit(
        self, status: int = 429, times: int = 1, *, method: str = ".*", path: str = ".*"
    ) -> None:
        """The next requests are too many in too short a time (GitHub's secondary limit)."""
        refusal = RefusedError(
            status,
            "You have exceeded a secondary rate limit. Please wait a few minutes before you try"
            " again.",
            {"Retry-After": "1"},
            "https://docs.github.com/rest/overview/rate-limits-for-the-rest-api"
            "#about-secondary-rate-limits",
        )
        self._faults.append(Fault(method, path, times, refusal))

    def exhaust(self, seconds: int, times: int = 1) -> None:
        """The hour's requests are used up (GitHub's primary limit)."""
        headers = {
            "X-RateLimit-Limit": "5000",
            "X-RateLimit-Remaining": "0",
            "X-RateLimit-Reset": str(int(time.time()) + seconds),
        }
        refusal = RefusedError(403, "API rate limit exceeded for user ID 2.", headers)
        self._faults.append(Fault(".*", ".*", times, refusal))

    def relent(self) -> None:
        """No more faults."""
        self._faults.clear()

    # --- serving ----------------------------------------------------------------------------------

    def _serve(self, request: Request) -> Response:
        path = request.path.removeprefix(_PREFIX)
        body = request.get_json(force=True) if request.get_data() else {}
        with self._lock:
            try:
                response = _response(self._answer(request, path, body))
            except RefusedError as refusal:
                response = _refused(refusal)
            query = request.args.to_dict()
            self.log.append(Entry(request.method, path, query, body, response.status_code))
        return response

    def _answer(self, request: Request, path: str, body: Json) -> Answer:
        if request.headers.get("Authorization") != f"Bearer {self.token}":
            raise RefusedError(401, "Bad credentials")
        for fault in self._faults:
            if fault.hits(request.method, path):
                fault.times -= 1
                raise fault.refusal
        try:
            handler, variables = self._routes.bind_to_environ(request.environ).match()
        except HTTPException:
            raise not_found() from None
        answer: Answer = handler(Call(body, request.args.to_dict()), **variables)
        return answer


def _response(answer: Answer, headers: dict[str, str] | None = None) -> Response:
    status, body = answer
    text = "" if body is None else json.dumps(body)
    response = Response(text, status, content_type="application/json; charset=utf-8")
    response.headers["X-GitHub-Request-Id"] = secrets.token_hex(8)
    response.headers["X-RateLimit-Limit"] = "5000"
    response.headers["X-RateLimit-Remaining"] = "4999"
    response.headers["X-RateLimit-Reset"] = str(int(time.time()) + 3600)
    response.headers.update(headers or {})
    return response


def _refused(refusal: RefusedError) -> Response:
    body = {
        "message": refusal.message,
        "documentation_url": refusal.documentation,
        "status": str(refusal.status),
    }
    if refusal.errors:
        body |= {"errors": [{"message": text, "code": "custom"} for text in refusal.errors]}
    return _response((refusal.status, body), refusal.headers)
