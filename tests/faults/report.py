"""Writes the figures of a results file into docs/reliability.md, between its marks."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from tests.faults.run import Result

PAGE = Path("docs/reliability.md")
_BEGIN, _END = "<!-- faults: begin -->", "<!-- faults: end -->"


def write_report(results: Sequence[Result]) -> None:
    """The newest result of each seed, of the commit that was run last."""
    page = PAGE.read_text()
    before, _, rest = page.partition(_BEGIN)
    _, _, after = rest.partition(_END)
    PAGE.write_text(f"{before}{_BEGIN}\n{report_of(results)}{_END}{after}")


def report_of(results: Sequence[Result]) -> str:
    """The table."""
    if not results:
        return "Not run yet.\n"
    commit = results[-1].commit
    newest = {result.seed: result for result in results if result.commit == commit}.values()
    kinds = Counter(fault.split(": ", 1)[1].split(" for ")[0].rsplit(" (", 1)[0] for r in newest for fault in r.faults)
    kind_names = ("kill", "freeze", "roll out", "slow", "cut", "silent", "full disk", "clock", "provider")
    sums = {kind: sum(n for what, n in kinds.items() if what.startswith(f"{kind} ")) for kind in kind_names}
    sums["Redis or PostgreSQL stopped"] = sum(kinds.values()) - sum(sums.values())
    seen = sum((Counter(result.seen) for result in newest), Counter[str]())
    answered, asked = seen["200"], sum(seen.values())
    slowest = max(result.recovered_s for result in newest)
    loads = [result.load for result in newest]
    broken = [str(result.seed) for result in newest if result.wrong]
    rows = {
        "seeds": f"{len(newest)}",
        "faults": ", ".join(f"{n} × {kind}" for kind, n in sums.items() if n),
        "requests": f"{asked}, {answered} answered",
        "provider calls": str(sum(result.calls for result in newest)),
        "records": f"{sum(r.records for r in newest)}, {sum(r.orphans for r in newest)} of them orphans",
        "well again after": f"at most {slowest:.1f} s, at load averages of {min(loads):.0f} to {max(loads):.0f}",
        "seeds with a fault in the books": f"{len(broken)}" + (f" ({', '.join(broken)})" if broken else ""),
    }
    lines = [
        f"At `{commit}`:",
        "",
        "| | |",
        "| --- | --- |",
        *(f"| {name} | {value} |" for name, value in rows.items()),
    ]
    return "\n".join(lines) + "\n"
