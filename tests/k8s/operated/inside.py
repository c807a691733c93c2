"""`kubectl exec` in the place of the real one: the command runs here, with the pod's folders in place of its paths."""

import subprocess
import sys
from pathlib import Path


def main() -> int:
    """Arguments: the folder of pods, then those of kubectl."""
    pods, words = Path(sys.argv[1]), sys.argv[2:]
    service = next(word for word in words if word.startswith("deployment/")).rpartition("-")[2]
    command = words[words.index("--") + 1 :]
    data = str(pods / service / "data")
    inside = [sys.executable, *(one.replace("/var/lib/asahi", data) for one in command[1:])]
    return subprocess.run(inside, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
