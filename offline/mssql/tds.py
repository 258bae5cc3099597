"""Server's side of TDS 7.4, as far as drivers use it for statements with and without parameters.

https://learn.microsoft.com/openspecs/windows_protocols/ms-tds: no TLS, no cursors, no bulk copies.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

BATCH, RPC, RESPONSE, ATTENTION, TRANSACTION, LOGIN, PRELOGIN = 1, 3, 4, 6, 14, 16, 18
VERSION = 0x74000004
EXECUTE_SQL = 10
#: Latin1_General_CI_AS; all text is UTF-16 anyway.
COLLATION = bytes.fromhex("0904d00034")
NO_VALUE = 0xFFFF
PACKET = 4096


class ServerError(Exception):
    """An error with SQL Server's number."""

    def __init__(self, number: int, message: str, severity: int = 16) -> None:
        super().__init__(message)
        self.number = number
        self.severity = severity


class Login(NamedTuple):
    """Who signs in, into which database."""

    user: str
    password: str
    database: str


@dataclass
class Result:
    """What a statement gave: rows, or how many it changed."""

    columns: list[str] = field(default_factory=list)
    rows: Sequence[Sequence[Any]] = ()
    #: None: it doesn't count.
    changed: int | None = None


class Stream:
    """What is left of a message."""

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.at = 0

    def take(self, size: int) -> bytes:
        """The next bytes."""
        self.at += size
        return self.content[self.at - size : self.at]

    def number(self, kind: str) -> Any:
        """The next number, of a kind of the module struct."""
        return struct.unpack(f"<{kind}", self.take(struct.calcsize(kind)))[0]

    def text(self, length: int) -> str:
        """The next characters."""
        return self.take(2 * length).decode("utf-16-le")

    def without_headers(self) -> Stream:
        """What follows the ALL_HEADERS."""
        self.at += struct.unpack_from("<I", self.content, self.at)[0]
        return self

    def value(self) -> Any:
        """The value of a parameter, behind its type."""
        match kind := self.number("B"):
            case 0x26 | 0x68:  # integers, a bit
                self.take(1)
                return (
                    int.from_bytes(given, "little", signed=True)
                    if (given := self._short())
                    else None
                )
            case 0x6D:  # floats
                self.take(1)
                given = self._short()
                return struct.unpack("<f" if len(given) == 4 else "<d", given)[0] if given else None
            case 0xE7 | 0xEF | 0xA7 | 0xAF:  # n(var)char, (var)char
                whole = self.number("H") == NO_VALUE
                self.take(5)
                given = self._parts() if whole else self._long()
                return (
                    None
                    if given is None
                    else given.decode("utf-16-le" if kind > 0xE0 else "cp1252")
                )
            case 0x63:  # ntext
                self.take(9)
                size = self.number("i")
                return None if size < 0 else self.take(size).decode("utf-16-le")
            case 0x1F:
                return None
        raise ServerError(8009, f"this stand-in doesn't know the type {kind:#x} of a parameter")

    def _short(self) -> bytes:
        return self.take(self.number("B"))

    def _long(self) -> bytes | None:
        size = self.number("H")
        return None if size == NO_VALUE else self.take(size)

    def _parts(self) -> bytes | None:
        if self.number("Q") == 2**64 - 1:
            return None
        given = b""
        while size := self.number("I"):
            given += self.take(size)
        return given


def received(client: socket.socket) -> tuple[int, Stream]:
    """The next message and its kind."""
    content = b""
    while True:
        header = _exactly(client, 8)
        content += _exactly(client, int.from_bytes(header[2:4]) - 8)
        if header[1] & 1:
            return header[0], Stream(content)


def _exactly(client: socket.socket, size: int) -> bytes:
    content = b""
    while len(content) < size:
        part = client.recv(size - len(content))
        if not part:
            raise ConnectionError
        content += part
    return content


def send(client: socket.socket, content: bytes) -> None:
    """An answer, in as many packets as it takes."""
    parts = [content[at : at + PACKET - 8] for at in range(0, len(content), PACKET - 8)] or [b""]
    for number, part in enumerate(parts, 1):
        last = number == len(parts)
        client.sendall(
            struct.pack(">BBHHBB", RESPONSE, last, len(part) + 8, 1, number % 256, 0) + part
        )


# --- what is asked ------------------------------------------------------------------------------


def login(message: Stream) -> Login:
    """LOGIN7. Passwords are hidden from nobody."""

    def at(place: int) -> bytes:
        offset, length = struct.unpack_from("<HH", message.content, place)
        return message.content[offset : offset + 2 * length]

    hidden = (byte ^ 0xA5 for byte in at(44))
    password = bytes((byte << 4 & 0xF0) | byte >> 4 for byte in hidden)
    return Login(*(given.decode("utf-16-le") for given in (at(40), password, at(68))))


def statement(message: Stream) -> tuple[str, dict[str, Any]]:
    """The statement of an RPC and its parameters; of procedures, sp_executesql is there."""
    message.without_headers()
    length = message.number("H")
    name = message.number("H") if length == NO_VALUE else message.text(length).lower()
    if name not in (EXECUTE_SQL, "sp_executesql"):
        raise ServerError(2812, f"Could not find stored procedure '{name}'.")
    message.take(2)
    values: list[tuple[str, Any]] = []
    while message.at < len(message.content):
        key = message.text(message.number("B")).lstrip("@")
        message.take(1)
        values.append((key, message.value()))
    return str(values[0][1]), dict(values[2:])


# --- what is answered ---------------------------------------------------------------------------


def prelogin() -> bytes:
    """The version, and that nothing is encrypted."""
    options = [(0, bytes([16, 0, 0, 0, 0, 0])), (1, b"\x02"), (2, b"\0"), (3, b""), (4, b"\0")]
    at = 5 * len(options) + 1
    head = body = b""
    for token, content in options:
        head += struct.pack(">BHH", token, at + len(body), len(content))
        body += content
    return head + b"\xff" + body


def _short_text(value: str) -> bytes:
    return bytes([len(value)]) + value.encode("utf-16-le")


def _token(kind: int, content: bytes) -> bytes:
    return struct.pack("<BH", kind, len(content)) + content


def accepted(database: str) -> bytes:
    """LOGINACK, and which database, collation and size of packets are in use."""
    name = "Microsoft SQL Server"
    known = struct.pack(">BI", 1, VERSION) + _short_text(name) + bytes([16, 0, 0, 0])
    size = _short_text(str(PACKET))
    return (
        use(database)
        + _token(0xE3, b"\x07\x05" + COLLATION + b"\0")
        + _token(0xAD, known)
        + _token(0xE3, b"\x04" + size + size)
        + done()
    )


def use(database: str) -> bytes:
    """Another database is in use."""
    return _token(0xE3, b"\x01" + _short_text(database) + b"\0")


def transaction(message: Stream) -> tuple[str, bytes]:
    """What begins or ends one, and what tells it."""
    message.without_headers()
    number = b"\x08" + struct.pack("<Q", 1)
    match message.number("H"):
        case 5:
            return "BEGIN", _token(0xE3, b"\x08" + number + b"\0") + done()
        case 7:
            return "COMMIT", _token(0xE3, b"\x09\0" + number) + done()
        case _:
            return "ROLLBACK", _token(0xE3, b"\x0a\0" + number) + done()


def error(problem: ServerError) -> bytes:
    """ERROR, which ends what was asked."""
    text = str(problem)[:2000]
    content = struct.pack("<iBBH", problem.number, 1, problem.severity, len(text))
    content += text.encode("utf-16-le") + _short_text("stand-in") + _short_text("")
    return _token(0xAA, content + struct.pack("<I", 1)) + done(status=2)


def done(count: int | None = None, status: int = 0) -> bytes:
    """The end of a statement; status 1 says that there is more."""
    return struct.pack("<BHHQ", 0xFD, status | (0x10 if count is not None else 0), 0, count or 0)


def answer(results: Sequence[Result], *, procedure: bool) -> bytes:
    """The rows of statements and how many they are."""
    told = b"".join(
        _rows(result) + done(len(result.rows) if result.columns else result.changed, status=1)
        for result in results
    )
    if procedure:
        return told + struct.pack("<Bi", 0x79, 0) + struct.pack("<BHHQ", 0xFE, 0, 0, 0)
    return told + done()


def _rows(result: Result) -> bytes:
    if not result.columns:
        return b""
    kinds = [_kind([row[at] for row in result.rows]) for at in range(len(result.columns))]
    told = struct.pack("<BH", 0x81, len(kinds))
    for name, kind in zip(result.columns, kinds, strict=True):
        about = {int: b"\x26\x08", float: b"\x6d\x08"}.get(kind, b"\xe7\x40\x1f" + COLLATION)
        told += struct.pack("<IH", 0, 1) + about + _short_text(name)
    for row in result.rows:
        told += b"\xd1"
        for value, kind in zip(row, kinds, strict=True):
            told += _value(value, kind)
    return told


def _kind(values: list[Any]) -> type:
    """Of one column: integers, floats, else text."""
    kinds = {type(value) for value in values if value is not None}
    if kinds == {int}:
        return int
    return float if kinds and kinds <= {int, float} else str


def _value(value: Any, kind: type) -> bytes:
    if kind is str:
        if value is None:
            return struct.pack("<H", NO_VALUE)
        content = str(value)[:4000].encode("utf-16-le")
        return struct.pack("<H", len(content)) + content
    if value is None:
        return b"\0"
    return struct.pack("<Bq" if kind is int else "<Bd", 8, value)
