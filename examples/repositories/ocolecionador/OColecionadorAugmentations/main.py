"""Stands for the worker: it touches the file while it is able to work."""

import os
import time
from pathlib import Path

while True:
    Path(os.environ.get("HEARTBEAT_FILE", "/tmp/heartbeat")).touch()  # noqa: S108
    time.sleep(5)
