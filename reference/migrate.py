"""Makes the stores ready: `python3 -m reference.migrate`."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping

from reference.stores import Store, StoreError, discover


def run_migrations(stores: Mapping[str, Store] | None = None) -> int:
    """Migrate every store, as often as wanted; 1 if one of them fails."""
    code = 0
    for name, store in (discover(os.environ) if stores is None else stores).items():
        try:
            for line in store.migrate():
                print(f"{name} ({store.engine}): {line}", flush=True)
        except StoreError as error:
            print(f"{name} ({store.engine}) fails: {error}", file=sys.stderr, flush=True)
            code = 1
    return code


if __name__ == "__main__":
    sys.exit(run_migrations())
