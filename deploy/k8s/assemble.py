"""`python -m deploy.k8s.assemble DIR`: the charts with the charts that they depend on inside, ready for helm."""

import shutil
import sys
from pathlib import Path

from deploy.k8s.generate import CHARTS, SERVICES


def assemble(folder: Path) -> None:
    """Copies all charts below `folder`; who was there before is replaced."""
    for service in SERVICES:
        _copy(CHARTS / service, folder / service)
        _copy(CHARTS / "library", folder / service / "charts" / "library")
    _copy(CHARTS / "asahi", folder / "asahi")
    for service in SERVICES:
        _copy(folder / service, folder / "asahi" / "charts" / service)


def _copy(source: Path, target: Path) -> None:
    if target.exists():
        shutil.rmtree(target)
    shutil.copytree(source, target)


if __name__ == "__main__":
    assemble(Path(sys.argv[1]))
