"""Charts for this folder's tests."""

from pathlib import Path

import pytest

from deploy.k8s.assemble import assemble
from tests.k8s.rendering import Charts


@pytest.fixture(scope="session")
def charts(tmp_path_factory: pytest.TempPathFactory) -> Charts:
    """All charts, with those inside that they depend on."""
    folder: Path = tmp_path_factory.mktemp("charts")
    assemble(folder)
    return Charts(folder)
