"""Logger(): what a model says goes to the log of the AINode, with the id of the model."""

import logging
import sys


class Logger:
    """One for the whole process, as in the official AINode."""

    _logger = logging.getLogger("iotdb.ainode")

    def __init__(self, *arguments: object, **options: object) -> None:
        del arguments, options  # names of log files there
        if not self._logger.handlers:
            handler = logging.StreamHandler(sys.stderr)
            handler.setFormatter(logging.Formatter("%(levelname)s %(message)s"))
            self._logger.addHandler(handler)
            self._logger.setLevel(logging.INFO)
            self._logger.propagate = False

    def debug(self, *arguments: object) -> None:
        """Not shown."""
        self._say(logging.DEBUG, arguments)

    def info(self, *arguments: object) -> None:
        """Shown as INFO."""
        self._say(logging.INFO, arguments)

    def warning(self, *arguments: object) -> None:
        """Shown as WARNING."""
        self._say(logging.WARNING, arguments)

    def error(self, *arguments: object) -> None:
        """Shown as ERROR."""
        self._say(logging.ERROR, arguments)

    def _say(self, level: int, arguments: tuple) -> None:
        self._logger.log(level, " ".join(str(argument) for argument in arguments).replace("%", "%%"))
