"""The benchmark compares programs that make the same things."""

from pathlib import Path

import pytest

from bench import same
from bench.workplace import MeasureError, Workplace

CHAIN = {"image": "example.com/chain:1", "gated": "true", "interval": "1s"}


@pytest.mark.parametrize(
    ("program", "config"), [("chain", CHAIN), ("small", {"instances": "2"}), ("shop", {})]
)
def test_the_flat_program_makes_what_ours_makes(
    program: str, config: dict[str, str], tmp_path: Path
) -> None:
    place = Workplace(tmp_path, "bench", {})
    ours = place.project(program, "ours", config)
    same.check(ours, place.project(f"{program}_flat", "flat", config))


def test_another_program_is_not_compared(tmp_path: Path) -> None:
    place = Workplace(tmp_path, "bench", {})
    one, two = (place.project("small", f"of{count}", {"instances": count}) for count in "12")
    with pytest.raises(MeasureError, match="the programs differ"):
        same.check(one, two)


def test_processor_time_is_not_what_the_clock_says(tmp_path: Path) -> None:
    place = Workplace(tmp_path, "bench", {"PATH": "/usr/bin:/bin"}, processor=True)
    assert place.run("sleep", "0.5") < 0.4
