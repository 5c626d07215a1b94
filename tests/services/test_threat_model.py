"""Every test that docs/threat-model.md names exists."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MODEL = (ROOT / "docs/threat-model.md").read_text()
NAMED = re.findall(r"`([\w/.]+)::(\w+)`", MODEL)


def test_it_names_tests() -> None:
    assert len(NAMED) > 30


@pytest.mark.parametrize(("file", "name"), NAMED, ids=lambda part: part)
def test_a_named_test_exists(file: str, name: str) -> None:
    source = (ROOT / "tests" / file).read_text()
    assert re.search(rf"\b(def|function) {name}\(", source)


def test_every_row_names_a_test_or_says_that_it_is_open() -> None:
    rows = [line for line in MODEL.splitlines() if line.startswith("| ")]
    bare = [row for row in rows if "::" not in row and not row.endswith("| Open |") and "shown by" not in row]
    assert bare == []
