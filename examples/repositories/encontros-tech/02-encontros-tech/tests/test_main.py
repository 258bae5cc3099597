"""Stands for the application's tests."""

from main import app


def test_index() -> None:
    """The title comes from the environment."""
    assert app.test_client().get("/").text == "Encontros Tech"
