"""The protos change only by addition: what callers were once told to send and expect stays as it is."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.documents import ROOT

_BUF = ROOT / ".venv" / "bin" / "buf"
_FILE = "asahi/cache/v1/cache.proto"
_FIELD = "  // The organisation that asks; entries of others are never found.\n  string organization_id = 1;\n"


def _breaking(folder: Path) -> str:
    """What `make check` would say of the protos in `folder`; empty: nothing."""
    command = [str(_BUF), "breaking", str(folder), "--against", str(ROOT / "protos" / "released.binpb.gz")]
    told = subprocess.run(command, capture_output=True, text=True, check=False)
    assert bool(told.returncode) == bool(told.stdout), told.stderr
    return told.stdout


@pytest.fixture
def protos(tmp_path: Path) -> Path:
    """A copy of the protos."""
    return Path(shutil.copytree(ROOT / "protos", tmp_path / "protos"))


def _edit(protos: Path, pattern: str, new: str) -> None:
    path = protos / _FILE
    text = path.read_text(encoding="utf-8")
    edited = text.replace(pattern, new, 1)
    assert edited != text
    path.write_text(edited, encoding="utf-8")


@pytest.mark.parametrize(
    ("new", "says"),
    [
        ("", 'field "1" with name "organization_id" on message "LookupRequest" was deleted'),
        (_FIELD.replace("string", "bytes"), 'on message "LookupRequest" changed type from "string" to "bytes"'),
        (_FIELD.replace("organization_id", "org_id"), 'from "organization_id" to "org_id"'),
        (_FIELD.replace("= 1", "= 99"), 'field "1" with name "organization_id"'),
    ],
    ids=["removed", "of another type", "renamed", "renumbered"],
)
def test_a_field_that_is_taken_back_is_found(protos: Path, new: str, says: str) -> None:
    _edit(protos, _FIELD, new)
    assert says.lower() in _breaking(protos).lower()


def test_a_method_that_is_taken_back_is_found(protos: Path) -> None:
    text = (protos / _FILE).read_text(encoding="utf-8")
    method = re.search(r"  rpc GetStats\(.*?\n  }\n", text, re.DOTALL)
    assert method is not None
    _edit(protos, method[0], "")
    assert 'Previously present RPC "GetStats" on service "CacheService" was deleted' in _breaking(protos)


def test_what_is_added_is_no_break(protos: Path) -> None:
    _edit(protos, _FIELD, f"{_FIELD}  // New.\n  string new_field = 999;\n")
    assert not _breaking(protos)
