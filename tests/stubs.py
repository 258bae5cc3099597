"""Stubs of tools on a PATH of their own, which record their calls and give a test's answers."""

import itertools
import json
import shlex
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

STUBS = (
    *("curl", "doctl", "docker", "eas", "gh", "git", "helm", "kubectl", "make", "node", "npm"),
    *("npx", "pip", "pulumi", "pytest", "python", "sleep", "sudo", "tiers", "uv"),
)
#: Run for real; also recorded, as the arguments of every process can be read by others.
REAL = (
    *("awk", "base64", "basename", "bash", "cat", "chmod", "cp", "cut", "date", "diff", "dirname"),
    *("env", "find", "grep", "head", "id", "jq", "ln", "ls", "mkdir", "mktemp", "mv", "paste"),
    *("python3", "realpath", "rm", "sed", "seq", "sh", "sha256sum", "sort", "tail", "tar", "tee"),
    *("timeout", "touch", "tr", "uname", "uniq", "wc", "xargs"),
)


@dataclass(frozen=True)
class Answer:
    """What a stub says; `script` runs before, in bash, with the call's arguments."""

    out: str = ""
    code: int = 0
    err: str = ""
    script: str = ""


@dataclass(frozen=True)
class Call:
    """A stub that was called."""

    tool: str
    argv: list[str]
    cwd: str
    env: dict[str, str]
    stdin: str
    code: int
    job: str
    step: str

    def __str__(self) -> str:
        return shlex.join([self.tool, *self.argv])


@dataclass
class Tools:
    """A folder for PATH with stubs and the few real tools that scripts may use."""

    folder: Path
    real: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        self.bin = self.folder / "bin"
        self.bin.mkdir(parents=True)
        for name in ("answers.json", "counts.json", "calls.jsonl", "processes"):
            start = {"answers.json": "[]", "counts.json": "{}"}
            (self.folder / name).write_text(start.get(name, ""))
        stub = shlex.join([sys.executable, "-IS", str(Path(__file__).with_name("stub_tool.py"))])
        log = shlex.quote(str(self.folder / "processes"))
        for tool in {*STUBS, *REAL, *self.real}:
            # Before a stub's own: it looks like any process to whoever lists them.
            lines = f'#!/bin/sh\nprintf "%s\\0" "$(($# + 1))" {tool} "$@" >>{log}\n'
            if tool in self.real or tool in REAL:
                if not (real := shutil.which(tool)):
                    continue
                lines += f'exec {shlex.quote(real)} "$@"\n'
            else:
                lines += f'exec {stub} {shlex.quote(str(self.folder))} {tool} "$@"\n'
            (self.bin / tool).write_text(lines)
            (self.bin / tool).chmod(0o755)

    def answer(self, pattern: str, *answers: Answer | str) -> None:
        """`pattern`: a glob of how the command line starts; of two that match the later counts.

        Several answers are given one after another, the last one from then on.
        """
        table = json.loads((self.folder / "answers.json").read_text())
        given = [each if isinstance(each, Answer) else Answer(each) for each in answers]
        table.append([pattern, [vars(each) for each in given]])
        (self.folder / "answers.json").write_text(json.dumps(table))
        # The same pattern given anew starts anew.
        counts = json.loads((self.folder / "counts.json").read_text())
        counts.pop(pattern, None)
        (self.folder / "counts.json").write_text(json.dumps(counts))

    def fail(self, pattern: str, code: int = 1) -> None:
        self.answer(pattern, Answer(code=code, err=f"{pattern}: told to fail\n"))

    def forget(self, pattern: str) -> None:
        """Takes an answer back."""
        table = json.loads((self.folder / "answers.json").read_text())
        left = [each for each in table if each[0] != pattern]
        (self.folder / "answers.json").write_text(json.dumps(left))

    def take(self, job: str, step: str) -> Iterator[Call]:
        """The calls since the last time."""
        log = self.folder / "calls.jsonl"
        lines = log.read_text().splitlines()
        log.write_text("")
        for line in lines:
            yield Call(**json.loads(line), job=job, step=step)

    def take_processes(self) -> list[list[str]]:
        """The arguments of every process since the last time, real tools' too."""
        log = self.folder / "processes"
        words = iter(log.read_text().split("\0"))
        log.write_text("")
        return [list(itertools.islice(words, int(count))) for count in words if count]
