"""Vision's API and dashboard: `python -m vision.api.api_server [--reload]`."""

import os
import sys

from reference.__main__ import start

if __name__ == "__main__":
    unknown = set(sys.argv[1:]) - {"--reload"}
    if unknown:
        sys.exit(f"unknown: {' '.join(sorted(unknown))}; it takes --reload")
    if "--reload" in sys.argv[1:]:
        os.environ["API_RELOAD"] = "true"
    # Document lines 93 and 326-329: the API, and the dashboard with a health check of its own.
    os.environ.setdefault("DASHBOARD_PORT", "8080")
    start()
