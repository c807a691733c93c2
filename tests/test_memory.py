"""What a service does not use takes none of its memory: it is not imported."""

import subprocess
import sys
from pathlib import Path

import pytest

_NEEDLESS = {
    "auth": ("rich", "alembic", "aiohttp", "cryptography", "redis", "numpy", "opentelemetry.exporter"),
    "cache": ("rich", "alembic", "aiohttp", "redis", "numpy", "onnxruntime", "opentelemetry.exporter"),
    "router": ("rich", "alembic", "redis", "onnxruntime", "opentelemetry.exporter"),
    "billing": ("rich", "alembic", "aiohttp", "redis", "numpy", "opentelemetry.exporter"),
    "edge": ("rich", "alembic", "aiohttp", "redis", "numpy", "sqlalchemy", "opentelemetry.exporter"),
}


@pytest.mark.parametrize("service", _NEEDLESS)
def test_a_service_imports_only_what_every_installation_uses(service: str) -> None:
    listed = f"import asahi_{service}.__main__, sys; print(*(name for name, one in sys.modules.items() if one))"
    done = subprocess.run([sys.executable, "-c", listed], capture_output=True, text=True, check=True)
    imported = set(done.stdout.split())
    assert imported.isdisjoint(_NEEDLESS[service]), sorted(imported.intersection(_NEEDLESS[service]))


def test_what_migrated_a_database_is_gone_with_its_process(tmp_path: Path) -> None:
    script = f"""
import sys
from pathlib import Path
from asahi_auth.stores.opening import SCHEMA
from asahi_core.sql.databases import database_at
from asahi_core.sql.schema import open_migrated, revision
engine = open_migrated(database_at("", Path({str(tmp_path)!r}) / "new.db"), SCHEMA, connections=1)
with engine.connect() as connection:
    assert revision(connection, SCHEMA) == SCHEMA.head
print("alembic" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n", "the serving process has imported what only a migration needs"
