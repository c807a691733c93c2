"""How results come onto the page of what was proven on containers."""

from tests.k8s.cluster.record import HEAD, PAGE, Result, with_result

_ORDER = ("first", "second", "third")


def _result(case: str, *, failed: int = 0, notes: tuple[str, ...] = ()) -> Result:
    return Result(case, "0123abc", 3.0, 9.6, 100, 5, failed, 0, 95, ("a fault",) * failed, notes)


def _lines(page: str) -> list[str]:
    return [line for line in page.splitlines() if line.startswith(("| ", "- "))][len(HEAD.splitlines()) :]


def test_a_result_takes_the_place_of_the_one_before_in_the_order_of_cases() -> None:
    page = "Before.\n<!-- results -->\nnothing yet\n<!-- end of results -->\nAfter.\n"
    for result in (
        _result("third", notes=("a note",)),
        _result("first", failed=1, notes=("old",)),
        _result("second"),
        _result("first", notes=("new",)),
    ):
        page = with_result(page, result, _ORDER)
    first, second, third, *notes = _lines(page)
    assert [row.split(" | ")[0] for row in (first, second, third)] == ["| first", "| second", "| third"]
    assert first.split(" | ")[3:7] == ["10 s", "100", "5", "0"]
    assert notes == ["- **first**: new", "- **third**: a note"]
    assert page.startswith("Before.\n")
    assert page.endswith("\nAfter.\n")


def test_the_page_keeps_all_other_results() -> None:
    page = PAGE.read_text(encoding="utf-8")
    after = with_result(page, _result("new-case"), _ORDER)
    assert sorted(set(_lines(after)) - set(_lines(page))) == [_result("new-case").row()]
    assert set(_lines(page)) <= set(_lines(after))
