"""`python -m tests.k8s.operated [PATH…]`: the pages of docs/operations typed word for word into helm and kubectl.

Paths: `helm` (install.md with helm, then scaling, rotation, backup and restore, a slow request, every runbook,
upgrade, rollback, removal), `kubectl` (the same install with kubectl alone), `laptop` (with embedded databases, and
their backup), `alone` (alone.md).
Exit code 1: a command failed, or did not do what the page says.
"""

import argparse
import asyncio
import os
import sqlite3
import sys
import tempfile
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path

import psycopg

from deploy.k8s.generate import WITH_DATABASE
from tests.k8s.operated.cluster import Cluster, cluster, report
from tests.k8s.operated.pages import OPERATIONS, Commands, commands_of, values_alone

_OPENING = ("", "Secrets", "Values")


def section(page: str, *names: str) -> list[Commands]:
    """The blocks of some sections of a page; "" is what stands before the first."""
    return [one for one in commands_of(OPERATIONS / f"{page}.md") if one.section in names]


async def helm(it: Cluster) -> list[str]:
    """With helm, and everything that follows an installation."""
    wrong = await follow(it, section("install", *_OPENING, "Install"))
    if wrong:
        return wrong
    tested = next(one for one in it.typed if "helm test" in one.commands.text)
    if "Phase:          Succeeded" not in tested.output:
        wrong.append(f"helm test: {tested.output}")
    if '"response"' not in it.typed[-1].output:
        wrong.append(f"the first question has no answer: {it.typed[-1].output}")
    it.variables["KEY"] = it.variables["key"]
    wrong += await follow(it, section("scale", "Do it"))
    wrong += await follow(it, section("rotate", "Certificates", "Keys and passwords"))
    wrong += await backup(it)
    wrong += await slow_request(it)
    wrong += await runbooks(it)
    (installing,) = [one for one in section("install", "Install") if "helm upgrade" in one.text]
    wrong += await follow(it, [installing, *section("install", "Upgrade", "Remove")])
    return wrong or await disaster(it)


async def kubectl(it: Cluster) -> list[str]:
    """With kubectl alone."""
    wrong = await follow(it, section("install", *_OPENING, "With kubectl alone"))
    asking = next(one for one in section("install", "Install") if "/infer" in one.text)
    return wrong or await follow(it, [asking])


async def laptop(it: Cluster) -> list[str]:
    """With everything embedded, and a copy of its databases."""
    providers = next(one for one in section("install", "Secrets") if "asahi-providers" in one.text)
    only = {providers.place: providers.text.splitlines()[0]}
    wrong = await follow(it, [*section("install", ""), providers, *section("install", "On one machine")], only)
    wrong = wrong or await follow(it, section("backup", "Embedded databases"))
    if not wrong:
        with closing(sqlite3.connect(it.folder / "pods" / "billing" / "data" / "billing.copy")) as copy:
            (found,) = copy.execute("PRAGMA integrity_check").fetchone()
            tables = copy.execute("SELECT count(*) FROM sqlite_master WHERE name = 'usage_records'").fetchone()
        if (found, tables) != ("ok", (1,)):
            wrong.append(f"the copy of the ledger is {found}, with {tables[0]} tables of records")
    return wrong or await follow(it, section("install", "Remove"))


async def alone(it: Cluster) -> list[str]:
    """Each service as a release of its own, with the lines of alone.md."""
    certificates = section("install", "Secrets")[0]
    (installing,) = section("alone", "")
    public = Commands(OPERATIONS / "alone.md", "", 0, "the certificate that callers are shown")
    shown = "kubectl -n asahi create secret tls asahi-public-tls --cert edge.crt --key edge.key"
    wrong = await follow(it, [*section("install", ""), certificates, public], {public.place: shown})
    for service, lines in values_alone().items():
        (it.folder / "clone" / f"{service}.yaml").write_text(lines)
        wrong = wrong or await follow(it, [installing], {installing.place: installing.text.replace("billing", service)})
    return wrong


async def follow(it: Cluster, blocks: list[Commands], instead: dict[str, str] | None = None) -> list[str]:
    """Types blocks; ends at the first that fails, which it returns."""
    for one in blocks:
        done = await it.type(one, text=(instead or {}).get(one.place, ""))
        if done.code:
            return [f"{one.place}: exit code {done.code}:\n{done.output}"]
    return []


async def backup(it: Cluster) -> list[str]:
    """Dumps, spends something, restores: the ledger is what it was when it was dumped, and adds up."""
    dump, restore = section("backup", "PostgreSQL")[:2]
    wrong = await follow(it, [dump])
    before = _records(it)
    asking = next(one for one in section("install", "Install") if "/infer" in one.text)
    wrong += await follow(it, [asking])
    await asyncio.sleep(2)
    after = _records(it)
    wrong += await follow(it, [restore])
    restored = _records(it)
    if not (before < after and restored == before):
        wrong.append(f"records: {before} when dumped, {after} before the restore, {restored} after it")
    for name in WITH_DATABASE:
        if name != "billing":
            wrong += await follow(it, [restore], {restore.place: restore.text.replace("billing", name)})
    return wrong


async def disaster(it: Cluster) -> list[str]:
    """Nothing is left but dumps and the audit key: keys of callers open again, and the audit chain is whole."""
    it.lose_databases()
    secrets = section("install", *_OPENING)
    same = {one.place: one.text.replace("openssl rand -hex 32 > audit.key\n", "") for one in secrets}
    wrong = await follow(it, secrets, same)
    installing = next(one for one in section("install", "Install") if "helm upgrade" in one.text)
    wrong = wrong or await follow(it, [*section("backup", "After a disaster"), installing])
    report = 'curl -sf http://127.0.0.1:8000/governance/compliance/report -H "Authorization: Bearer $KEY"'
    checked = await it.type(Commands(OPERATIONS / "backup.md", "", 0, "the compliance report"), text=report)
    if checked.code or '"intact":true' not in checked.output.replace(" ", ""):
        wrong.append(f"the audit chain after the disaster: {checked.output}")
    return wrong


def _records(it: Cluster) -> int:
    with psycopg.connect(it.database.url("billing")) as connection:
        row = connection.execute("SELECT count(*) FROM usage_records").fetchone()
    return int(row[0]) if row else 0


async def slow_request(it: Cluster) -> list[str]:
    """The id of an answer, found in the log."""
    asking = Commands(OPERATIONS / "slow-request.md", "", 0, "REQUEST_ID: of an answer")
    asked = await it.type(
        asking,
        text='id=$(curl -sfD- -o /dev/null http://127.0.0.1:8000/infer -H "Authorization: Bearer $KEY" '
        '-H "Content-Type: application/json" -d \'{"prompt": "Was it slow?"}\' '
        "| tr -d '\\r' | sed -n 's/^x-asahi-request-id: //p'); [ -n \"$id\" ]",
    )
    if asked.code:
        return [asked.output]
    await asyncio.sleep(1)
    blocks = section("slow-request", "")
    first = {one.place: one.text.replace("REQUEST_ID", "$id") for one in blocks}
    return await follow(it, blocks, first)


async def runbooks(it: Cluster) -> list[str]:
    """Every line of every runbook; that grep finds nothing while nothing is wrong is right."""
    wrong = []
    for page in sorted((OPERATIONS / "runbooks").glob("*.md")):
        for one in commands_of(page):
            checked = [f"{line}\n[ ${{PIPESTATUS[0]}} = 0 ]" for line in one.text.splitlines()]
            wrong += await follow(it, [one], {one.place: "set +e\n" + " || exit 1\n".join(checked) + " || exit 1"})
    return wrong


PATHS: dict[str, Callable[[Cluster], Awaitable[list[str]]]] = {
    "helm": helm,
    "kubectl": kubectl,
    "laptop": laptop,
    "alone": alone,
}


async def run(names: list[str]) -> list[str]:
    """Follows paths, each on a cluster of its own; what is wrong."""
    wrong = []
    for name in names:
        print(f"\n{name}, load average {os.getloadavg()[0]:.1f}\n")
        print("| page | first command | took | |\n| --- | --- | --: | --- |", flush=True)
        with tempfile.TemporaryDirectory() as folder:
            async with cluster(Path(folder)) as it:
                wrong += await PATHS[name](it)
                report(it.typed)
    return wrong


def main() -> int:
    """From the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("path", nargs="*", default=[*PATHS], help=f"default: all of {', '.join(PATHS)}")
    options = parser.parse_args()
    if unknown := set(options.path) - PATHS.keys():
        parser.error(f"no such path: {', '.join(sorted(unknown))}")
    wrong = asyncio.run(run(options.path))
    print("\n".join(wrong) or "every command did what its page says")
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
