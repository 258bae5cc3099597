"""Stands for the application."""

import os

from flask import Flask

app = Flask(__name__)


@app.get("/")
def index() -> str:
    """The page that a deployment asks for."""
    return os.environ.get("APP_TITLE", "Encontros Tech")
