"""Which dependencies work."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass

from reference.stores import Store, StoreError

# Less than the ten seconds that the documented health checks wait.
CHECK_SECONDS = 8
# How old what metrics say may be.
RECENT_SECONDS = 5

logger = logging.getLogger("reference")


@dataclass(frozen=True)
class Dependency:
    """What /health says of one store."""

    engine: str
    ok: bool
    error: str | None
    milliseconds: float


class Health:
    """Checks the stores, and remembers what it found."""

    def __init__(self, stores: Mapping[str, Store]) -> None:
        self.stores = stores
        self._checked = -1e9
        self._states: dict[str, Dependency] = {}

    def check(self) -> dict[str, Dependency]:
        """All at once: several that are down must not outlast the caller's own timeout."""
        pool = ThreadPoolExecutor(max_workers=len(self.stores) or 1)
        checks = {name: pool.submit(check, store) for name, store in self.stores.items()}
        done = wait(checks.values(), CHECK_SECONDS).done
        pool.shutdown(wait=False)
        late = f"no answer within {CHECK_SECONDS} seconds"
        states = {
            name: future.result()
            if future in done
            else Dependency(self.stores[name].engine, False, late, CHECK_SECONDS * 1e3)
            for name, future in checks.items()
        }
        for name, state in states.items():
            if not state.ok:
                logger.warning("%s (%s) fails: %s", name, state.engine, state.error)
        self._states, self._checked = states, time.monotonic()
        return states

    def recent(self) -> dict[str, Dependency]:
        """What the last check found, unless that is too long ago."""
        if time.monotonic() - self._checked > RECENT_SECONDS:
            return self.check()
        return self._states


def check(store: Store) -> Dependency:
    """Use one store."""
    started = time.perf_counter()
    error = None
    try:
        store.check()
    except StoreError as failure:
        error = str(failure)
    milliseconds = round((time.perf_counter() - started) * 1000, 1)
    return Dependency(store.engine, error is None, error, milliseconds)
