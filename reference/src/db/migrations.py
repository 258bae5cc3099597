"""Pigmeu's name for the migrations: `python -m src.db.migrations`."""

import sys

from reference.migrate import run_migrations

if __name__ == "__main__":
    sys.exit(run_migrations())
