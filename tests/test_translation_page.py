"""The page of the translation says what the tables say."""

from tests.translation_page import PAGE, page


def test_the_page_is_what_the_tables_make() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "run `.venv/bin/python -m tests.translation_page`"
