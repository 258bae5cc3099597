"""How gunicorn serves the reference workload: within 128 MB, on a read-only root with /tmp."""

import os
from pathlib import Path

host = os.environ.get("HOST", "0.0.0.0")
port = os.environ.get("PORT", "8000")
bind = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
wsgi_app = "reference.app:application()"
workers = 2
threads = 4
worker_class = "gthread"
# Workers prove that they live by touching a file, which must not wait for a disk.
worker_tmp_dir = "/dev/shm"
# Docker kills ten seconds after it asks.
graceful_timeout = 8
# Newer gunicorns open a socket for a management tool in the home folder; there is none to write.
no_control_socket = True

# prometheus_client reads this when it is imported, in the workers.
METRICS = Path(os.environ.setdefault("PROMETHEUS_MULTIPROC_DIR", "/tmp/prometheus_multiproc"))


def on_starting(server: object) -> None:
    """Begin with an empty folder: what an earlier run left would be counted again."""
    METRICS.mkdir(parents=True, exist_ok=True)
    for file in METRICS.glob("*.db"):
        file.unlink()
