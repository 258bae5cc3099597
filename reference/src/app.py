"""The application for an ASGI server: `uvicorn src.app:app`."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import os
from typing import Any

from asgiref.sync import ThreadSensitiveContext
from asgiref.wsgi import WsgiToAsgi

from reference import metrics

metrics.empty_folder(os.environ)

from reference.app import application  # noqa: E402 - its metrics are files in that folder

# Uvicorn prints its own lines.
logging.getLogger("uvicorn").propagate = False

_wsgi: Any = WsgiToAsgi(application())


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Give every request a thread of its own; they would all share one otherwise.

    A request that comes early on a connection that is kept inherits the context of the one before
    it, thread and all. That thread ends meanwhile, and the server would wait for it for ever.
    """

    async def answer() -> None:
        async with ThreadSensitiveContext():
            await _wsgi(scope, receive, send)

    await asyncio.create_task(answer(), context=contextvars.Context())
