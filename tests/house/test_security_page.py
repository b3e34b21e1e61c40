"""docs/security.md names tests that there are, for each item of the OWASP API Security Top 10."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
ROWS = re.findall(r"^\| (API\d+) .*\| .* \| (.*) \|$", (ROOT / "docs" / "security.md").read_text("utf-8"), re.MULTILINE)


def test_every_item_has_its_row() -> None:
    assert [item for item, _ in ROWS] == [f"API{number}" for number in range(1, 11)]


def test_every_test_that_is_named_exists() -> None:
    for item, tests in ROWS:
        named = re.findall(r"`(tests/[\w/]+\.py)`", tests)
        assert named, item
        assert [name for name in named if "def test_" not in (ROOT / name).read_text("utf-8")] == []
