"""How the application logs."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from datetime import UTC, datetime

COLOURS = {
    logging.DEBUG: "\033[36m",
    logging.INFO: "\033[32m",
    logging.WARNING: "\033[33m",
    logging.ERROR: "\033[31m",
    logging.CRITICAL: "\033[31m",
}


class ColouredFormatter(logging.Formatter):
    """Lines in their level's colour."""

    def format(self, record: logging.LogRecord) -> str:
        """The line between the codes for the colour and for none."""
        return f"{COLOURS.get(record.levelno, '')}{super().format(record)}\033[0m"


class JsonFormatter(logging.Formatter):
    """One JSON object for each line, also where an error has many, for programs that read logs."""

    def __init__(self, service: str) -> None:
        super().__init__()
        self.service = service

    def format(self, record: logging.LogRecord) -> str:
        """The line, with its time in UTC."""
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            "service": self.service,
        }
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


def log_level(environment: Mapping[str, str]) -> str | None:
    """The name of the level in LOG_LEVEL; None when there is none of that name.

    Without it DEBUG=true means debug, as in the documented settings.
    """
    debug = environment.get("DEBUG", "").lower() in {"1", "true", "yes"}
    wanted = environment.get("LOG_LEVEL") or ("DEBUG" if debug else "INFO")
    level = logging.getLevelNamesMapping().get(wanted.upper())
    return logging.getLevelName(level) if level else None


def configure_logging(environment: Mapping[str, str]) -> None:
    """Lines on stderr."""
    level = log_level(environment)
    # It tells five times what it then raises.
    logging.getLogger("pika").setLevel(logging.CRITICAL)
    handler = logging.StreamHandler()
    handler.setFormatter(_formatter(environment))
    logging.basicConfig(level=level or "INFO", handlers=[handler], force=True)
    if level is None:
        logging.getLogger("reference").warning(
            "LOG_LEVEL %s is unknown; using INFO", environment["LOG_LEVEL"]
        )


def _formatter(environment: Mapping[str, str]) -> logging.Formatter:
    if environment.get("LOG_FORMAT") == "json":
        return JsonFormatter(environment.get("SERVICE_NAME", "reference"))
    coloured = environment.get("LOG_FORMAT") == "colored"
    formatter = ColouredFormatter if coloured else logging.Formatter
    return formatter("%(asctime)s %(levelname)s %(name)s: %(message)s")
