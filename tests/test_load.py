"""Load and faults, on real Docker: bounded in time and in number."""

import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest
from sandbox import Sandbox

pytestmark = [pytest.mark.docker, pytest.mark.load]
WRITERS, WRITES = 8, 12


def test_nothing_that_was_acknowledged_is_lost_when_the_database_is_killed(
    sandbox: Sandbox,
) -> None:
    sandbox.tiers("up", "--runner", "compose")

    def write(writer: int) -> list[str]:
        acknowledged: list[str] = []
        for number in range(WRITES):
            title = f"{writer}-{number}"
            try:
                sandbox.write(title)
            except OSError:  # the database is away; nothing was promised
                time.sleep(0.1)
            else:
                acknowledged.append(title)
        return acknowledged

    with ThreadPoolExecutor(WRITERS) as pool:
        results = [pool.submit(write, writer) for writer in range(WRITERS)]
        time.sleep(0.5)
        kill = "kill -9 $(cat /proc/1/task/1/children)"
        sandbox.tiers("exec", "postgres", "--", "sh", "-c", kill, code=None)
        acknowledged = [title for result in results for title in result.result(timeout=120)]
    sandbox.wait_healthy()
    assert sandbox.inspect("postgres")["RestartCount"] == 1
    stored = Counter(sandbox.titles(limit=100))
    assert len(acknowledged) > WRITERS, "hardly anything was written: the test shows nothing"
    assert [title for title in acknowledged if stored[title] != 1] == []


def test_readers_are_served_without_an_error(sandbox: Sandbox) -> None:
    sandbox.tiers("up", "--runner", "compose")
    sandbox.write("only one")
    with ThreadPoolExecutor(WRITERS) as pool:
        answers = [pool.submit(sandbox.titles) for _ in range(400)]
    assert Counter(tuple(answer.result()) for answer in answers) == {("only one",): 400}
    assert {row["health"] for row in sandbox.status().values()} == {"healthy"}
