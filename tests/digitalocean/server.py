"""The server: listens on loopback, checks the token, plays faults, keeps a log."""

import json
import re
import secrets
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from werkzeug.exceptions import BadRequest, HTTPException
from werkzeug.routing import Map, Rule
from werkzeug.serving import WSGIRequestHandler, make_server
from werkzeug.wrappers import Request, Response

from digitalocean.account import Account
from digitalocean.catalogue import Json
from digitalocean.databases import Databases
from digitalocean.errors import IDS, RefusedError
from digitalocean.kubernetes import Kubernetes
from digitalocean.registries import Registries
from digitalocean.routes import Answer, Call, Handler
from digitalocean.spaces import Spaces
from digitalocean.vpcs import Vpcs
from digitalocean.world import World

_LIMIT = 5000


@dataclass(frozen=True)
class Entry:
    """One request as it was answered; status 0 if the answer never went out."""

    method: str
    path: str
    query: dict[str, str]
    body: Json
    status: int


@dataclass
class Fault:
    """What goes wrong with the next requests of a method and a path (both patterns)."""

    method: str
    path: str
    times: int
    play: Callable[[Callable[[], Response]], Response]
    """Gets the action, and decides whether and when it is done."""

    def hits(self, method: str, path: str) -> bool:
        wanted = re.fullmatch(self.method, method) and re.fullmatch(self.path, path)
        return self.times > 0 and wanted is not None


@dataclass
class Hang:
    """A request that is kept waiting. Its connection then closes without an answer."""

    seconds: float
    after: bool
    reached: threading.Event = field(default_factory=threading.Event)
    """Set when the request is here, and its action done if it hangs afterwards."""
    released: threading.Event = field(default_factory=threading.Event)

    def play(self, action: Callable[[], Response]) -> Response:
        if self.after:
            action()
        self.reached.set()
        self.released.wait(self.seconds)
        raise ConnectionAbortedError("the answer is lost")


class _Handler(WSGIRequestHandler):
    """The double keeps a log of its own, and hangs up."""

    def log(self, type: str, message: str, *args: object) -> None:  # noqa: A002
        """Says nothing."""

    def connection_dropped(
        self, error: BaseException, environ: dict[str, object] | None = None
    ) -> None:
        """Without an answer; otherwise the client would go on waiting."""
        self.close_connection = True


class Double:
    """DigitalOcean's API, as far as this library uses it. A context manager."""

    def __init__(self, world: World | None = None) -> None:
        self.token = f"dop_v1_{secrets.token_hex(32)}"
        self.reset(world)
        self._lock = threading.RLock()
        application = Request.application(self._serve)
        self._server = make_server(
            "127.0.0.1", 0, application, threaded=True, request_handler=_Handler
        )
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        # Looks every few milliseconds whether it shall end.
        self._thread = threading.Thread(target=self._server.serve_forever, args=[0.02], daemon=True)

    def reset(self, world: World | None = None) -> None:
        """Another account, without a past."""
        self.world = world or World()
        self.log: list[Entry] = []
        self._faults: list[Fault] = []
        self._hangs: list[Hang] = []
        areas = (Account, Databases, Kubernetes, Registries, Spaces, Vpcs)
        routes = [route for area in areas for route in area(self.world).routes()]
        self._routes = Map(
            [Rule(path, methods=[method], endpoint=handler) for method, path, handler in routes],
            strict_slashes=False,
        )

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for hang in self._hangs:
            hang.released.set()
        self._server.shutdown()
        self._server.server_close()

    @property
    def environment(self) -> dict[str, str]:
        """Points the provider at this server, and lets it repeat failed requests quickly."""
        return {
            "DIGITALOCEAN_API_URL": self.url,
            "DIGITALOCEAN_TOKEN": self.token,
            "DIGITALOCEAN_HTTP_RETRY_WAIT_MIN": "0.05",
            "DIGITALOCEAN_HTTP_RETRY_WAIT_MAX": "0.2",
        }

    # --- what a test asks -------------------------------------------------------------------------

    def calls(self, method: str, path: str) -> list[Entry]:
        """The requests of a method and a path (both patterns), oldest first."""
        return [
            entry
            for entry in self.log
            if re.fullmatch(method, entry.method) and re.fullmatch(path, entry.path)
        ]

    @property
    def unknown(self) -> list[Entry]:
        """Requests that the double has no endpoint for."""
        return [
            entry
            for entry in self.log
            if not self._routes.bind("").test(entry.path, method=entry.method)
        ]

    # --- what a test orders -----------------------------------------------------------------------

    def refuse(
        self, method: str, path: str, status: int = 422, message: str = "no", times: int = 1
    ) -> None:
        """The next requests are refused."""
        self._order(method, path, times, RefusedError(status, message))

    def fail(
        self, method: str = ".*", path: str = ".*", times: int = 1, after: bool = False
    ) -> None:
        """The next requests end in a server error, before or after the action is done."""
        self._order(method, path, times, RefusedError(500, "Server Error"), after=after)

    def limit(self, times: int = 1, retry_after: int = 1) -> None:
        """The next requests are too many."""
        headers = {"Retry-After": str(retry_after), "ratelimit-remaining": "0"}
        self._order(".*", ".*", times, RefusedError(429, "API Rate limit exceeded.", headers))

    def hang(self, method: str, path: str, *, after: bool, seconds: float = 30) -> Hang:
        """The next request gets no answer: its action is done before, or never."""
        hang = Hang(seconds, after)
        self._hangs.append(hang)
        self._faults.append(Fault(method, path, 1, hang.play))
        return hang

    def _order(
        self, method: str, path: str, times: int, refusal: RefusedError, *, after: bool = False
    ) -> None:
        def play(action: Callable[[], Response]) -> Response:
            if after:
                action()
            raise refusal

        self._faults.append(Fault(method, path, times, play))

    # --- serving ----------------------------------------------------------------------------------

    def _serve(self, request: Request) -> Response:
        status = 0
        body: Json = {}
        try:
            body = _body(request)
            response = self._respond(request, body)
            status = response.status_code
        finally:
            with self._lock:
                query = request.args.to_dict()
                self.log.append(Entry(request.method, request.path, query, body, status))
        return response

    def _respond(self, request: Request, body: Json) -> Response:
        try:
            if request.headers.get("Authorization") != f"Bearer {self.token}":
                raise RefusedError(401, "Unable to authenticate you")
            fault = self._next_fault(request)
            if fault is None:
                return self._act(request, body)
            return fault.play(lambda: self._act(request, body))
        except RefusedError as refusal:
            return _refusal(refusal)

    def _next_fault(self, request: Request) -> Fault | None:
        with self._lock:
            for fault in self._faults:
                if fault.hits(request.method, request.path):
                    fault.times -= 1
                    return fault
        return None

    def _act(self, request: Request, body: Json) -> Response:
        """Does what is asked; one request at a time."""
        with self._lock:
            try:
                handler, variables = self._routes.bind_to_environ(request.environ).match()
                return _response(_call(handler, Call(body, request.args.to_dict()), variables))
            except HTTPException:
                return _refusal(
                    RefusedError(404, "The resource you were accessing could not be found.")
                )
            except RefusedError as refusal:
                return _refusal(refusal)


def _call(handler: Handler, call: Call, variables: Mapping[str, str]) -> Answer:
    return handler(call, **variables)


def _body(request: Request) -> Json:
    """The request's JSON, or nothing; a list or a word is nothing that any endpoint takes."""
    try:
        body = request.get_json(force=True) if request.get_data() else {}
    except BadRequest:
        return {"": "no JSON"}
    return body if isinstance(body, dict) else {"": body}


def _response(answer: Answer, headers: dict[str, str] | None = None) -> Response:
    status, body = answer
    kind = "application/yaml" if isinstance(body, str) else "application/json"
    text = "" if body is None else body if isinstance(body, str) else json.dumps(body)
    response = Response(text, status, content_type=kind)
    if body is None:
        del response.headers["Content-Type"]
    response.headers["ratelimit-limit"] = str(_LIMIT)
    response.headers["ratelimit-remaining"] = str(_LIMIT - 1)
    response.headers["ratelimit-reset"] = str(int(time.time()) + 3600)
    response.headers.update(headers or {})
    return response


def _refusal(refusal: RefusedError) -> Response:
    request = str(uuid.uuid4())
    body = {"id": IDS[refusal.status], "message": refusal.message, "request_id": request}
    return _response((refusal.status, body), {"x-request-id": request, **refusal.headers})
