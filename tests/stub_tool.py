"""What stands for a tool (docker, kubectl, ...) on a test's PATH: records calls, gives answers.

Started as ``stub_tool.py FOLDER TOOL ARGUMENT...``; see `stubs.Tools`.
"""

import fcntl
import json
import os
import subprocess
import sys
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

#: A tool that is told so reads its standard input; others must not eat that of a loop.
_READS = ("-", "--password-stdin", "/dev/stdin", "@-", "--secret")


def main(folder: Path, tool: str, arguments: list[str]) -> int:
    reads = any(each.endswith(("=-", "@-")) or each in _READS for each in arguments)
    stdin = sys.stdin.read() if reads and not sys.stdin.isatty() else ""
    line = " ".join([tool, *arguments])
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        table = json.loads((folder / "answers.json").read_text())
        counts = json.loads((folder / "counts.json").read_text())
        answer: dict[str, Any] = {"out": "", "err": "", "code": 0, "script": ""}
        for pattern, answers in reversed(table):
            if fnmatchcase(f"{line} ", f"{pattern} *"):
                asked = counts[pattern] = counts.get(pattern, 0) + 1
                answer = answers[min(asked, len(answers)) - 1]
                break
        (folder / "counts.json").write_text(json.dumps(counts))
        with (folder / "calls.jsonl").open("a") as calls:
            call = {"tool": tool, "argv": arguments, "cwd": str(Path.cwd())}
            call |= {"env": dict(os.environ), "stdin": stdin, "code": answer["code"]}
            calls.write(json.dumps(call) + "\n")
    if answer["script"]:
        subprocess.run(["bash", "-euc", answer["script"], tool, *arguments], check=True)
    sys.stdout.write(answer["out"])
    sys.stderr.write(answer["err"])
    return answer["code"]


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2], sys.argv[3:]))
