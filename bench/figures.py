"""Samples become rows of the table: medians, ratios within each run, and their targets."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from statistics import median


class Measure(StrEnum):
    """What is compared with a target."""

    #: The median of each run's own ratio, so that a slow moment of the machine hits both.
    RATIO = "x"
    #: The median of each run's own difference, in seconds.
    DIFFERENCE = "s more"


@dataclass
class Samples:
    """Seconds by name, one per run."""

    values: dict[str, list[float]] = field(default_factory=dict)

    def add(self, name: str, seconds: float) -> None:
        self.values.setdefault(name, []).append(seconds)


@dataclass(frozen=True)
class Comparison:
    """One line of the table: two names of samples."""

    what: str
    ours: str
    theirs: str
    #: What `theirs` is, for people.
    against: str
    #: At most so much; None: there is no promise, the figure stands for itself.
    target: float | None = None
    measure: Measure = Measure.RATIO


@dataclass(frozen=True)
class Row:
    """A comparison that was measured, or that could not be."""

    comparison: Comparison
    ours: Sequence[float] = ()
    theirs: Sequence[float] = ()
    #: Why there are no figures.
    missing: str = ""

    @property
    def figure(self) -> float:
        pairs = zip(self.ours, self.theirs, strict=True)
        if self.comparison.measure is Measure.DIFFERENCE:
            return median(ours - theirs for ours, theirs in pairs)
        return median(ours / theirs for ours, theirs in pairs)

    @property
    def verdict(self) -> str:
        if self.missing:
            return "not measured"
        if self.comparison.target is None:
            return ""
        return "ok" if self.figure <= self.comparison.target else "missed"

    def cells(self) -> tuple[str, ...]:
        """For the table."""
        wanted, unit = self.comparison.target, self.comparison.measure
        target = "" if wanted is None else f"≤ {wanted:.2f} {unit}"
        if self.missing:
            return (self.comparison.what, "", self.comparison.against, "", "", target, self.missing)
        return (
            self.comparison.what,
            _seconds(median(self.ours)),
            self.comparison.against,
            _seconds(median(self.theirs)),
            f"{self.figure:.2f} {unit}",
            target,
            self.verdict,
        )

    def as_json(self) -> dict[str, object]:
        """With every sample."""
        return {
            "what": self.comparison.what,
            "against": self.comparison.against,
            "measure": self.comparison.measure.name.lower(),
            "target": self.comparison.target,
            "ours": list(self.ours),
            "theirs": list(self.theirs),
            "figure": None if self.missing else self.figure,
            "verdict": self.verdict,
            "missing": self.missing,
        }


def _seconds(value: float) -> str:
    return f"{value:.2f} s" if value >= 0.1 else f"{value * 1000:.1f} ms"


def rows(
    comparisons: Sequence[Comparison], samples: Samples, missing: Mapping[str, str]
) -> list[Row]:
    """One row per comparison. `missing` says why by the first word of the names it concerns."""
    made: list[Row] = []
    for item in comparisons:
        why = [missing[name.split()[0]] for name in (item.ours, item.theirs) if _of(name, missing)]
        if why:
            made.append(Row(item, missing=why[0]))
        else:
            made.append(Row(item, samples.values[item.ours], samples.values[item.theirs]))
    return made


def _of(name: str, missing: Mapping[str, str]) -> bool:
    return name.split()[0] in missing
