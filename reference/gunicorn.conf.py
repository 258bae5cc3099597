"""How gunicorn serves the reference workload: within 256 MB, on a read-only root with /tmp."""

import os

host = os.environ.get("HOST", "0.0.0.0")  # noqa: S104 - the container's own network
port = os.environ.get("PORT", "8000")
bind = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
wsgi_app = "reference.app:application()"
# Loaded once and then forked: it connects to nothing before its first request.
preload_app = True
workers = 2
threads = 4
worker_class = "gthread"
# Workers prove that they live by touching a file, which must not wait for a disk.
worker_tmp_dir = "/dev/shm"  # noqa: S108 - gunicorn makes its files there unguessable
# Docker kills ten seconds after it asks.
graceful_timeout = 8
# Newer gunicorns open a socket for a management tool in the home folder; there is none to write.
control_socket_disable = True
