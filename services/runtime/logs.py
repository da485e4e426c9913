"""Logging to stdout: readable lines on a terminal, JSON in a cluster, the request id in every line of a request."""

from __future__ import annotations

import contextvars
import json
import logging
import sys
import time
from datetime import UTC, datetime

from services.runtime.settings import RuntimeSettings

request_id: contextvars.ContextVar[str] = contextvars.ContextVar("request_id", default="")

request_of_process = ""
"""The request that a worker process works for as a whole: contexts do not reach its threads."""


class _JsonFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if request := request_id.get() or request_of_process:
            line["request_id"] = request
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


class _TextFormatter(logging.Formatter):
    """Writes the time once a second, and not for each line: there is one for every request."""

    _clock = (0, "")

    def format(self, record: logging.LogRecord) -> str:
        second, shown = self._clock
        if int(record.created) != second:
            second = int(record.created)
            shown = time.strftime("%H:%M:%S", time.localtime(second))
            self._clock = second, shown
        request = request_id.get() or request_of_process
        place = f"{record.name} [{request}]" if request else record.name
        line = f"{shown} {record.levelname:<7} {place} {record.getMessage()}"
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


def set_up_logging(settings: RuntimeSettings) -> None:
    """Sends all log records of this process to stdout, in the format that the settings ask for."""
    # None of our lines says where in the code it was written; finding it out is a good part of what one costs
    # (https://docs.python.org/3/howto/logging.html#optimization).
    logging._srcfile = None
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(_JsonFormatter() if settings.log_format == "json" else _TextFormatter())
    logging.basicConfig(level=settings.log_level, handlers=[handler], force=True)
    logging.getLogger("timbre.audit").setLevel(logging.INFO)  # whatever else is not wanted
    for chatty in ("alembic", "httpx", "httpcore"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    logging.getLogger("urllib3").setLevel(logging.ERROR)  # its warnings show whole addresses: some are signed
