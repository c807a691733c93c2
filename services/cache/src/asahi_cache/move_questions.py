"""`python -m asahi_cache.move_questions --to URL`: copies tier 2's questions from the data folder to a Qdrant server.

The service must not be running: the folder has one owner. What expired is left behind, what is there already is
written again, so that a run that broke off can be repeated. The folder stays as it is. Needs the extra `semantic`.
"""

import argparse
import asyncio
import os
import sys
import time
from pathlib import Path

from asahi_cache.domain.semantic.neighbours import StoreUnavailable
from asahi_cache.wiring import open_questions, questions_folder

_PAGE = 500


def main() -> None:
    """Prints how many were copied; exit code 1 and the reason if it could not be done."""
    parser = argparse.ArgumentParser(prog="asahi_cache.move_questions", description=__doc__)
    parser.add_argument("--to", required=True, help="the server, https://host:6333; its key is QDRANT_API_KEY")
    parser.add_argument("--data-dir", type=Path, default=Path(os.environ.get("ASAHI_DATA_DIR", ".asahi")))
    options = parser.parse_args()
    folder = questions_folder(options.data_dir)
    if not folder.is_dir():
        sys.exit(f"{options.data_dir} holds no questions of tier 2")
    try:
        copied = asyncio.run(move(folder, options.to, os.environ.get("QDRANT_API_KEY", "")))
    except (StoreUnavailable, ImportError) as error:
        sys.exit(f"not all was copied: {error}")
    print(f"{copied} questions copied to {options.to}; now set QDRANT_URL for the cache service")


async def move(folder: Path, url: str, api_key: str) -> int:
    """Copies what has not expired; how many questions that was.

    Raises:
        StoreUnavailable: one of the stores does not do its part.
        ImportError: the extra `semantic` is not installed.
    """
    source = open_questions(folder, "", "")
    target = open_questions(folder, url, api_key)
    copied, after, now_ns = 0, "", time.time_ns()
    try:
        while True:
            page, after = await source.scroll(after, _PAGE)
            for question, vector in page:
                if question.expires_at_ns > now_ns:
                    await target.keep(question, vector)
                    copied += 1
            if not after:
                return copied
    finally:
        await target.close()
        await source.close()


if __name__ == "__main__":
    main()
