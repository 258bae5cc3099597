"""A classifier: it serves the trained model in the folder MODEL_PATH."""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections.abc import Generator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from flask import Flask, Response, jsonify, request
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector
from werkzeug.exceptions import ServiceUnavailable

from reference.metrics import JOB_DURATION, JOB_QUALITY, JOBS
from reference.validation import valid_text

MODEL_FILE, SUMS_FILE = "model.json", "SHA256SUMS"
TEXT_LENGTH = 2000
# As sha256sum writes it; a name is one in the same folder or below it.
_SUM = re.compile(r"([0-9a-f]{64}) [ *]((?!/)(?!.*\.\.).+)")


@dataclass(frozen=True)
class Model:
    """A trained model: texts longer than `threshold` characters have the second label."""

    name: str
    version: str
    threshold: float
    labels: tuple[str, str]
    rows: int
    """Of how many texts it was made."""

    def predict(self, text: str) -> tuple[str, float]:
        """A label, and how sure it is, from 0.5 to 1."""
        distance = abs(len(text) - self.threshold)
        score = 0.5 + distance / (2 * (distance + self.threshold + 1))
        return self.labels[len(text) > self.threshold], round(score, 4)

    def as_bytes(self) -> bytes:
        """The model's file: the same model, the same bytes."""
        return (json.dumps(asdict(self), indent=2, sort_keys=True) + "\n").encode()


@dataclass(frozen=True)
class State:
    """What /health says of the model."""

    name: str | None
    version: str | None
    path: str
    sums: str
    """ok, mismatch or missing."""
    error: str | None


class ModelFolder(Collector):
    """The folder in which the model should be. It is read anew at every use: it may be replaced."""

    def __init__(self, folder: Path, *, required: bool) -> None:
        self.folder = folder
        self.required = required

    def model(self) -> Model:
        """The model; OSError, ValueError, KeyError or TypeError when it cannot be read."""
        found: dict[str, Any] = json.loads((self.folder / MODEL_FILE).read_bytes())
        found["labels"] = tuple(found["labels"])
        return Model(**found)

    def state(self) -> State | None:
        """None without a model."""
        if not (self.folder / MODEL_FILE).is_file():
            return None
        name = version = error = None
        try:
            model = self.model()
            name, version = model.name, model.version
        except (OSError, ValueError, KeyError, TypeError) as failure:
            error = f"cannot read {MODEL_FILE}: {failure}"
        sums, wrong = check_sums(self.folder)
        if wrong:
            error = error or f"{', '.join(wrong)}: not as in {SUMS_FILE}"
        return State(name, version, str(self.folder), sums, error)

    def fit(self) -> bool:
        """Whether it can serve, or need not."""
        state = self.state()
        if state is None:
            return not self.required
        return state.sums == "ok" and state.error is None

    def collect(self) -> Generator[Metric]:
        info = GaugeMetricFamily(
            "model_info", "The model that is served", labels=["model", "version", "sums"]
        )
        if state := self.state():
            info.add_metric([state.name or "", state.version or "", state.sums], 1)
        yield info


def check_sums(folder: Path) -> tuple[str, list[str]]:
    """How the folder's files compare with its list of sums, and the names of those that differ."""
    try:
        lines = (folder / SUMS_FILE).read_text().splitlines()
    except FileNotFoundError:
        return "missing", []
    except (OSError, UnicodeDecodeError):
        return "mismatch", [SUMS_FILE]
    sums: dict[str, str] = {}
    for line in filter(None, lines):
        entry = _SUM.fullmatch(line)
        if entry is None:
            return "mismatch", [SUMS_FILE]
        sums[entry[2]] = entry[1]
    wrong = [name for name, known in sums.items() if file_sum(folder / name) != known]
    if MODEL_FILE not in sums:
        wrong.append(MODEL_FILE)
    return ("mismatch" if wrong else "ok"), wrong


def file_sum(path: Path) -> str | None:
    """A file's SHA-256; None when it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return None


def add_classifier_routes(app: Flask, models: ModelFolder) -> None:
    """POST /classifier/predict."""

    @app.post("/classifier/predict")
    def predict() -> Response:
        """Label a text."""
        text = valid_text(request.get_json(silent=True), "text", TEXT_LENGTH)
        started = time.perf_counter()
        if models.state() is None:
            raise ServiceUnavailable(f"there is no model in {models.folder}")
        if not models.fit():
            raise ServiceUnavailable(f"the model in {models.folder} is damaged: see /health")
        model = models.model()
        label, score = model.predict(text)
        JOBS.labels("predict", "done").inc()
        JOB_DURATION.labels("predict").observe(time.perf_counter() - started)
        JOB_QUALITY.labels("predict").observe(score)
        return jsonify(label=label, score=score, model=model.name, version=model.version)
