"""Stands for the application's tests."""

import asyncio
from unittest.mock import AsyncMock

from src.app import app


def test_health() -> None:
    """The API tells its health."""
    send = AsyncMock()
    asyncio.run(app({"type": "http", "path": "/health"}, AsyncMock(), send))
    assert send.await_args_list[0].args[0]["status"] == 200
