"""`asahi up` with stand-ins for programs, told by its environment alone; `--json` for raw lines."""

import os
import sys
from pathlib import Path

from asahi_cli.errors import CommandError
from asahi_cli.laptop.programs import COMMANDS
from asahi_cli.laptop.up import up
from asahi_cli.settings import laptop_settings

PROGRAM = str(Path(__file__).parent / "program.py")

if __name__ == "__main__":
    stand_ins = {name: (sys.executable, PROGRAM, name) for name in COMMANDS}
    try:
        up(laptop_settings(os.environ), out=sys.stdout, colour=False, as_json="--json" in sys.argv, commands=stand_ins)
    except CommandError as error:
        error.end_process()
