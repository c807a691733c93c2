"""The README's first request, word for word, at the cluster's edges."""

import asyncio
import json
import re
import tempfile
from decimal import Decimal
from pathlib import Path
from subprocess import PIPE
from typing import Any

from tests.documents import ROOT
from tests.k8s.cluster.cases import Stage

_COMMANDS = re.compile(r"^## First request\n(.*?)^## ", re.MULTILINE | re.DOTALL)
_LOOKS = 10


async def first_request(stage: Stage) -> None:
    """Sent twice: answered with its price, then for nothing out of the cache; the summary says what both came to."""
    section = _COMMANDS.search((ROOT / "README.md").read_text(encoding="utf-8"))
    assert section is not None, "README.md has no section 'First request' any more"
    ask, summary = re.findall(r"```bash\n(.*?)```", section[1], re.DOTALL)
    _, headers = await stage.installation.signup()
    with tempfile.TemporaryDirectory() as folder:
        credentials = Path(folder) / ".asahi" / "credentials"
        credentials.parent.mkdir()
        key = headers["authorization"].removeprefix("Bearer ")
        credentials.write_text(f"ASAHI_URL={stage.installation.url}\nASAHI_API_KEY={key}\n")
        first, second = [await _run(ask, folder) for _ in range(2)]
        for _ in range(_LOOKS):  # an edge waits for its own records, not for those that the other has on their way
            told = await _run(f"set -a; . .asahi/credentials\n{summary}", folder)
            data = told.get("data", told)
            if data["total_requests"] == 2:
                break
            await asyncio.sleep(1)
    stage.expect(first["response"] and first["cost"] > 0 and not first["cache_hit"], f"the first answer is {first}")
    stage.expect(first["model_used"] in first["routing_reason"], f"why is not said: {first['routing_reason']}")
    stage.expect(
        second["response"] == first["response"] and (second["cost"], second["cache_tier"]) == (0, 1),
        f"the second answer is {second}",
    )
    stage.expect(data["total_cost"] == first["cost"], f"the summary is {data}, not {first['cost']}")
    stage.notes.append(f"first {first['cost']} $, then {second['cost']} $ from tier {second['cache_tier']}")


async def _run(commands: str, folder: str) -> Any:
    """What commands answer, amounts exact."""
    process = await asyncio.create_subprocess_exec("bash", "-ec", commands, cwd=folder, stdout=PIPE)
    out, _ = await process.communicate()
    assert process.returncode == 0, f"exit code {process.returncode} of {commands}"
    return json.loads(out, parse_float=Decimal, parse_int=Decimal)
