"""How a command ends when it cannot do its work: one line on stderr and an exit code of sysexits.h where one fits."""

import os
import sys
from typing import NoReturn

FAILED = 1
"""The request was refused or failed."""
UNREACHABLE = os.EX_UNAVAILABLE
"""Nothing answers where Asahi is looked for."""
FORBIDDEN = os.EX_NOPERM
"""The key is missing, not valid, or may not do this."""
WRONG_CONFIGURATION = os.EX_CONFIG
"""A setting, a port or a folder is wrong; the message says how to mend it."""


class CommandError(Exception):
    """Ends the command. `message` is one line: what is wrong and how to mend it."""

    def __init__(self, message: str, exit_code: int = FAILED) -> None:
        super().__init__(message)
        self.message = message
        self.exit_code = exit_code

    def end_process(self) -> NoReturn:
        """Says it, and ends the process."""
        print(f"asahi: {self.message}", file=sys.stderr)
        sys.exit(self.exit_code)


class WrongConfiguration(CommandError):
    """A setting, a port or a folder is wrong."""

    def __init__(self, message: str) -> None:
        super().__init__(message, WRONG_CONFIGURATION)
