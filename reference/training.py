"""A training: `python main.py` makes a model of the database's texts and puts it into the bucket.

<bucket>/<MODEL_NAME>/<version>/model.json
<bucket>/<MODEL_NAME>/<version>/SHA256SUMS      last: a version without it is not complete
"""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import statistics
import sys
import time
from collections.abc import Mapping, Sequence

from werkzeug.exceptions import BadRequest

from reference.classifier import MODEL_FILE, SUMS_FILE, Model
from reference.stores import BrokenStore, S3Store, StoreError, database, discover
from reference.stores.base import value
from reference.validation import valid_name

ROWS = 1000
_NUMBERED = re.compile(r"v(\d{1,9})")


class TrainingError(Exception):
    """Why there is no new model."""


def main(environment: Mapping[str, str], arguments: Sequence[str] | None = None) -> int:
    """Train once; the exit code."""
    parser = argparse.ArgumentParser(prog="main.py", description="Train a model.")
    parser.add_argument("--seconds", type=float, default=0, help="take so long, to be watched")
    parser.add_argument("--fail", action="store_true", help="fail after that, to be seen failing")
    options = parser.parse_args(arguments)
    started = time.monotonic()
    try:
        train(environment, options.seconds, fail=options.fail)
    except (TrainingError, StoreError) as error:
        print(f"training failed: {error}", file=sys.stderr, flush=True)
        return 1
    _say(f"done in {time.monotonic() - started:.1f} s")
    return 0


def train(environment: Mapping[str, str], seconds: float = 0, *, fail: bool = False) -> Model:
    """Read rows, make a model of them, and keep it under a version that is new."""
    if bucket := value(environment, "MODEL_BUCKET"):
        environment = {**environment, "S3_BUCKET": bucket}
        environment.pop("S3_BUCKET_FILE", None)
    stores = discover(environment)
    for name, store in stores.items():
        if isinstance(store, BrokenStore):
            raise TrainingError(f"{name}: {store.error}")
    kept = database(stores)
    bucket = next((store for store in stores.values() if isinstance(store, S3Store)), None)
    if kept is None or bucket is None:
        raise TrainingError("it needs a database (DATABASE_URL) and a bucket (S3_ENDPOINT)")
    name = _name(environment, "MODEL_NAME") or "classifier"
    wanted = _name(environment, "MODEL_VERSION")
    version = new_version(bucket, name, wanted)
    texts = [*kept.job_texts(ROWS), *(event.title for event in kept.newest(ROWS))]
    device = environment.get("CUDA_VISIBLE_DEVICES")
    _say(f"training {name} {version} on {len(texts)} rows, on {_device(device)}")
    for second in range(int(seconds)):
        time.sleep(1)
        _say(f"step {second + 1} of {int(seconds)}")
    time.sleep(seconds % 1)
    if fail:
        raise TrainingError("because of --fail")
    threshold = statistics.median(map(len, texts)) if texts else 0
    while True:
        model = Model(name, version, threshold, ("short", "long"), len(texts))
        content = model.as_bytes()
        # Whoever writes this file has the version; another training may have been faster.
        if bucket.put_new(f"{name}/{version}/{MODEL_FILE}", content):
            break
        version = new_version(bucket, name, wanted)
        _say(f"another training has taken that version: this is {version}")
    sums = f"{hashlib.sha256(content).hexdigest()}  {MODEL_FILE}\n".encode()
    bucket.put(f"{name}/{version}/{SUMS_FILE}", sums)
    for file, data in ((MODEL_FILE, content), (SUMS_FILE, sums)):
        key = f"{name}/{version}/{file}"
        if bucket.get(key) != data:
            raise TrainingError(f"wrote {key} and read something else back")
        _say(f"wrote {bucket.bucket}/{key} ({len(data)} bytes)")
    return model


def new_version(bucket: S3Store, name: str, wanted: str | None) -> str:
    """The wanted version, or the number after the highest one; a version is never replaced."""
    there = {key.split("/")[1] for key in bucket.keys(f"{name}/") if key.count("/") > 1}
    if wanted in there:
        raise TrainingError(f"{bucket.bucket}/{name}/{wanted} is there already; take another one")
    numbers = [int(found[1]) for version in there if (found := _NUMBERED.fullmatch(version))]
    return wanted or f"v{max(numbers, default=0) + 1}"


def _name(environment: Mapping[str, str], variable: str) -> str | None:
    text = value(environment, variable)
    try:
        return valid_name(text) if text else None
    except BadRequest as error:
        raise TrainingError(f"{variable} is {text!r}: {error.description}") from None


def _device(visible: str | None) -> str:
    return f"GPU {visible}" if visible and visible not in {"-1", "none", "void"} else "the CPU"


def _say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    sys.exit(main(os.environ))
