"""What the user sees: steps with their time, tables, errors without tracebacks."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

import typer
from rich.console import Console
from rich.status import Status

out = Console(highlight=False, soft_wrap=True, emoji=False)
"""Results. Colour only on a terminal."""
if not out.is_terminal:
    out.width = 200  # a file has no edge to wrap at
err = Console(stderr=True, highlight=False, soft_wrap=True, emoji=False)
"""Progress and errors, so that results can be piped."""

EXIT_FAILED = 1
EXIT_INPUT = 2
EXIT_MISSING = 3
"""What is needed isn't on this machine, and could not be had."""
EXIT_INTERRUPTED = 130
"""Ctrl-C, as shells tell it."""


class Stop(Exception):  # noqa: N818 - not every end is an error
    """Ends the command: the message is for people, the code for scripts."""

    def __init__(self, message: str, code: int = EXIT_FAILED) -> None:
        super().__init__(message)
        self.code = code


_QUIET_SECONDS = 2


class Steps:
    """Progress of a long command: a line per step off a terminal, a living last line on one."""

    def __init__(self) -> None:
        self.started = time.monotonic()
        self._status: Status | None = None
        self._last = ""
        self._told = 0.0

    def say(self, text: str) -> None:
        """A step that is done, or a fact."""
        err.print(f"[dim]{self._elapsed()}[/dim] {_escaped(text)}")

    def now(self, text: str) -> None:
        """What is being done at the moment: off a terminal it is a line of its own."""
        if self._status is not None:
            self._status.update(f"{self._elapsed()} {_escaped(text)}")
        elif not err.is_terminal and text != self._last:
            # Many at once are no news: in a log, one in a while is enough.
            if time.monotonic() - self._told >= _QUIET_SECONDS:
                self._told = time.monotonic()
                self.say(text)
            self._last = text

    @contextmanager
    def during(self, text: str) -> Iterator[None]:
        """A step that takes a while."""
        if not err.is_terminal:
            self.say(text)
            yield
            return
        with err.status(f"{self._elapsed()} {_escaped(text)}") as status:
            self._status = status
            try:
                yield
            finally:
                self._status = None

    def _elapsed(self) -> str:
        return f"{time.monotonic() - self.started:5.1f}s"


def _escaped(text: str) -> str:
    return text.replace("[", r"\[")


def confirm(question: str) -> bool:
    """Asks on a terminal; goes on where nobody can answer."""
    if not err.is_terminal or not typer.get_text_stream("stdin").isatty():
        return True
    return typer.confirm(question, err=True)
