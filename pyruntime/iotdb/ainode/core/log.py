"""Logger(): what a model says goes to the log of the AINode, with the id of the model."""

import sys


class Logger:
    """Writes lines to the output of the process, which the AINode reads."""

    def __init__(self, *arguments: object, **options: object) -> None:
        del arguments, options  # names of log files there

    def debug(self, *arguments: object) -> None:
        """Not shown."""

    def info(self, *arguments: object) -> None:
        """Shown as INFO."""
        self._say("INFO", arguments)

    def warning(self, *arguments: object) -> None:
        """Shown as WARNING."""
        self._say("WARNING", arguments)

    def error(self, *arguments: object) -> None:
        """Shown as ERROR."""
        self._say("ERROR", arguments)

    def _say(self, level: str, arguments: tuple) -> None:
        print(level, *arguments, file=sys.stderr, flush=True)
