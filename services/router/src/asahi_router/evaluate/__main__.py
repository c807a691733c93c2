"""`python -m asahi_router.evaluate --memory DIR --queries DIR`: does the guard save, and what does it lose?"""

import argparse
import json
import sys
import tempfile
from pathlib import Path

from asahi_router.evaluate.data import WrongData, read_folder, read_pools
from asahi_router.evaluate.embedding import ModelMissing, embedded
from asahi_router.evaluate.judge import Plan, Source, judge
from asahi_router.evaluate.report import as_json, in_words, picture


def main(arguments: list[str] | None = None) -> int:
    """Prints the evaluation; 1 where a folder or the embedding's model cannot be used."""
    told = _parser().parse_args(arguments)
    try:
        memory = _source(told.memory, told.kept)
        queries = memory if told.queries.resolve() == told.memory.resolve() else _source(told.queries, told.kept)
        pools = read_pools(told.pools or told.memory / "pools.json")
        wanted = [pool for pool in pools if not told.pool or pool.name in told.pool]
        judged = judge(Plan(memory, queries, told.epsilon, told.seeds), wanted, _progress)
    except (WrongData, ModelMissing) as error:
        print(error, file=sys.stderr)
        return 1
    if told.picture:
        told.picture.write_text(picture(judged))
    print(json.dumps(as_json(judged), indent=2) if told.json else "\n".join(in_words(judged)))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m asahi_router.evaluate", description=__doc__)
    parser.add_argument("--memory", type=Path, required=True, help="folder that is learned from")
    parser.add_argument("--queries", type=Path, required=True, help="folder that is decided; the same: it is split")
    parser.add_argument("--epsilon", type=float, default=0.01, help="relative loss that is allowed (0.01)")
    parser.add_argument("--seeds", type=int, default=3, help="splits of one folder, or repetitions (3)")
    parser.add_argument("--pools", type=Path, help="pools (JSON); else pools.json of the memory")
    parser.add_argument("--pool", action="append", default=[], help="only this pool; may be repeated")
    parser.add_argument("--json", action="store_true", help="print JSON, not Markdown")
    parser.add_argument("--picture", type=Path, help="write the cost-quality plane there (SVG)")
    parser.add_argument(
        "--kept", type=Path, default=Path(tempfile.gettempdir()) / "asahi-embeddings", help="where embeddings are kept"
    )
    return parser


def _source(path: Path, kept: Path) -> Source:
    folder = read_folder(path)
    return Source(folder, embedded(folder.prompts.texts, kept))


def _progress(name: str) -> None:
    print(name, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
