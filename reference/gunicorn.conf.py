"""How gunicorn serves the reference workload: within 256 MB, on a read-only root with /tmp."""

import os
from pathlib import Path

# What the documented applications listen on where no PORT says otherwise: OColecionador's ASP.NET
# (lines 593 and 908), its classifier (line 649), and all others.
if "ASPNETCORE_ENVIRONMENT" in os.environ:
    usual = "8080"
elif "MODEL_PATH" in os.environ:
    usual = "5001"
else:
    usual = "8000"
host = os.environ.get("HOST", "0.0.0.0")  # noqa: S104 - the container's own network
ports = [os.environ.get("PORT") or usual, os.environ.get("DASHBOARD_PORT")]
bind = [f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for port in ports if port]
wsgi_app = "reference.app:application()"
# Documented for Vision's development: a changed source is loaded again.
reload = os.environ.get("API_RELOAD", "").lower() in {"1", "true", "yes"}
reload_extra_files = [str(path) for path in Path.cwd().rglob("*.py")] if reload else []
# Loaded once and then forked: it connects to nothing before its first request.
preload_app = not reload
workers = 1 if reload else 2
threads = 4
worker_class = "gthread"
# Workers prove that they live by touching a file, which must not wait for a disk.
worker_tmp_dir = "/dev/shm"  # noqa: S108 - gunicorn makes its files there unguessable
# Docker kills ten seconds after it asks.
graceful_timeout = 8
# Newer gunicorns open a socket for a management tool in the home folder; there is none to write.
control_socket_disable = True
