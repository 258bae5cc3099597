"""Stands for the application's tests."""

from vision.api.api_server import Handler


def test_health() -> None:
    """There is a handler."""
    assert Handler.do_GET
