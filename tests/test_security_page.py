"""The proofs that docs/security.md names are there."""

import re
from pathlib import Path

import pytest

from tests.documents import ROOT

_PROOF = re.compile(r"`((?:tests|services|libs|cli)/[\w/-]+\.py)(?:::(\w+))?`")
_PAGE = (ROOT / "docs/security.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(("file", "test"), sorted(set(_PROOF.findall(_PAGE))))
def test_a_proof_that_is_named_is_there(file: str, test: str) -> None:
    content = (ROOT / file).read_text(encoding="utf-8")
    assert re.search(rf"def {test}\(" if test else r"def test_", content), f"{file} has no {test}"


def test_every_threat_has_its_proof() -> None:
    threats = _PAGE.split("## Threats")[1].split("## Known limits")[0]
    rows = [
        line for line in threats.splitlines() if line.startswith("| ") and not line.startswith(("| threat", "| ---"))
    ]
    assert len(rows) > 20
    assert [row for row in rows if not _PROOF.search(row)] == []


@pytest.mark.parametrize("lock", ["requirements.lock", "requirements-bootstrap.txt"])
def test_every_locked_package_has_its_hashes(lock: str) -> None:
    entries = re.split(r"^(?=[\w.\[\]-]+==)", Path(ROOT / lock).read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
    assert entries
    assert [entry.splitlines()[0] for entry in entries if "--hash=sha256:" not in entry] == []
