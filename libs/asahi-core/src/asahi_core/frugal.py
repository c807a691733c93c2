"""Imported first by every service's `__main__`: does without what others import only because it is there."""

import sys

# structlog takes it, where it is installed, for tracebacks that no service prints: 5 MB.
sys.modules.setdefault("rich", None)  # type: ignore[arg-type]
