"""The evaluation's figures and its picture."""

import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from asahi_cache.evaluate import clopper_pearson
from asahi_cache.evaluate_picture import Panel, curve, draw


def test_a_curve_has_what_each_cut_serves_and_gets_wrong() -> None:
    drawn = curve("score", [(0.9, True), (0.5, False), (0.9, True), (0.1, False)])
    assert list(drawn.points) == [(0.5, 0.0), (0.75, pytest.approx(1 / 3)), (1.0, 0.5)]


def test_the_picture_is_well_formed_and_names_its_rules(tmp_path: Path) -> None:
    target = tmp_path / "picture.svg"
    curves = [curve("ours", [(0.9, True), (0.1, False)]), curve("a < b", [(0.9, False), (0.1, True)])]
    draw([Panel("pairs", curves, [("cosine 0.92", 0.5, 1.0)])], target)
    texts = [one.text for one in ET.parse(target).getroot().iter("{http://www.w3.org/2000/svg}text")]  # noqa: S314
    assert {"pairs", "ours", "a < b", "cosine 0.92"} <= set(texts)


@pytest.mark.parametrize(
    ("wrong", "of", "low", "high"), [(0, 10, 0.0, 0.3085), (1, 10, 0.0025, 0.4450), (5, 5, 0.4782, 1.0)]
)
def test_intervals_of_shares_are_exact(wrong: int, of: int, low: float, high: float) -> None:
    assert clopper_pearson(wrong, of) == pytest.approx((low, high), abs=1e-3)
