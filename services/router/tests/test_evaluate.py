"""The evaluation on made-up measurements: it finds what can be saved, says who is harmed, and refuses bad folders."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from asahi_router.evaluate.__main__ import main
from asahi_router.evaluate.data import in_memory, read_folder
from asahi_router.evaluate.statistics import Answered, compared, holm

THINGS = ("river", "engine", "violin", "planet", "market", "garden", "castle", "harbor", "bridge", "island")


def write(folder: Path, count: int = 700) -> Path:
    """Greetings, which both models answer well, and sums, at which the cheap one fails half the time."""
    folder.mkdir()
    random = np.random.default_rng(1)
    prompts, outcomes = [], []
    for number in range(count):
        thing, easy = THINGS[number % len(THINGS)], number % 2 == 0
        text = f"Say a kind word about the {thing} of {number}." if easy else f"{number} + {7 * number} = ? Answer:"
        source = "kind" if number % 4 < 2 else "mixed"
        prompts.append((f"{source}:{number}", source, "", text, 12, None, None, f"q{number}"))
        for model, chance in (("dear", 0.95), ("cheap", 0.95 if easy else 0.5)):
            right = float(random.random() < chance)
            outcomes.append((f"{source}:{number}", model, right, None, 20.0, None, None))
    columns = ("prompt_id", "source", "subset", "prompt", "n_prompt_tokens", "n_tools", "tools_tokens", "norm_hash")
    _write(folder / "prompts.parquet", columns, prompts)
    measured = ("prompt_id", "model", "quality", "input_tokens", "output_tokens", "cost_usd", "latency_s")
    _write(folder / "outcomes.parquet", measured, outcomes)
    prices = {"dear": {"input": 10, "output": 30}, "cheap": {"input": 0.5, "output": 1.5}}
    (folder / "prices.json").write_text(json.dumps({"models": prices, "output_tokens_default": {}}))
    pools = {"both": {"sources": ["kind", "mixed"], "models": None}}
    (folder / "pools.json").write_text(json.dumps(pools))
    return folder


def _write(path: Path, columns: tuple[str, ...], rows: Sequence[Sequence[object]]) -> None:
    table = pa.table({name: [row[place] for row in rows] for place, name in enumerate(columns)})
    pq.write_table(table, path)


def test_it_saves_on_what_the_cheap_model_can_do_and_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write(tmp_path / "data")
    kept, plane = tmp_path / "kept", tmp_path / "plane.svg"
    asked = ["--memory", str(folder), "--queries", str(folder), "--seeds", "1", "--kept", str(kept)]
    assert main([*asked, "--epsilon", "0.05", "--json", "--picture", str(plane)]) == 0
    told = json.loads(capsys.readouterr().out)
    both = told["pools"]["both"]
    assert both["fallback"] == ["dear"]
    assert 0.25 < both["saved"]["point"] < 0.65, "about half of the prompts are easy"
    assert both["lost"]["low"] < 0.05
    assert not both["harmed"]
    assert both["controls"]["cheapest"]["lost"] > 0.15
    assert both["controls"]["oracle"]["saved"] > both["saved"]["point"]
    attainable = both["controls"]["attainable oracle"]
    assert 0.2 < attainable["saved"] < both["controls"]["oracle"]["saved"], "it knows neighbourhoods, no answers"
    (within,) = told["margins"]
    saved = [within[margin]["saved"] for margin in ("0", "0.25", "0.5", "0.75", "1")]
    assert saved == sorted(saved, reverse=True), "a wider margin saves less"
    assert told["advised_margins"][0] in (0, 0.25, 0.5, 0.75, 1)
    assert set(told["left_out"]) == {"both without kind", "both without mixed"}
    assert told["decision_ms"]["p50"] <= told["decision_ms"]["p99"]
    assert plane.read_text().startswith("<svg")
    assert len(list(kept.iterdir())) == 1, "embeddings are kept"
    assert main([*asked, "--epsilon", "0.05"]) == 0
    assert "| **mean** |" in capsys.readouterr().out


def test_a_question_is_in_the_memory_or_in_the_queries_by_itself_alone() -> None:
    shares = [np.mean([in_memory(f"q{n}", seed) for n in range(3000)]) for seed in range(3)]
    assert shares == pytest.approx([0.7] * 3, abs=0.04)
    assert in_memory("the same", 1) == in_memory("the same", 1)


def test_a_folder_that_is_none_is_refused_with_its_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--memory", str(tmp_path / "none"), "--queries", str(tmp_path / "none")]) == 1
    assert "none: FileNotFoundError" in capsys.readouterr().err


def test_a_model_without_a_price_is_never_free(tmp_path: Path) -> None:
    folder = write(tmp_path / "data", 20)
    (folder / "prices.json").write_text(json.dumps({"models": {}, "output_tokens_default": {}}))
    assert np.isnan(read_folder(folder).tables["kind"].cost_usd).all()


def test_harm_is_found_where_there_is_some_and_only_there() -> None:
    random = np.random.default_rng(0)
    questions = np.array([f"q{n}" for n in range(2000)])
    ones = np.ones(2000)
    for loss, harmed in ((0.0, False), (0.005, False), (0.05, True)):
        quality = np.where(random.random(2000) < loss, 0.0, 1.0)
        seen = compared(Answered(questions, quality, ones, 0.5 * ones, ones), 0.01, random)
        assert (seen.harm < 0.05) is harmed
        assert seen.lost.low <= seen.lost.point <= seen.lost.high
        assert seen.saved.point == pytest.approx(0.5)


def test_holm_rejects_the_smallest_first_and_stops() -> None:
    assert holm([0.04, 0.001, 0.02]) == [True, True, True]
    assert holm([0.04, 0.001, 0.03]) == [False, True, False]
    assert holm([]) == []
