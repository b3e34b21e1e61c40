"""SQL files are split into named blocks, and a broken file is noticed when it is read."""

import pytest

from services.chassis import queries

TEXT = """-- What this room asks.

-- first_one --
-- Says why.
SELECT 1;

-- second --
SELECT 2
  FROM here;
"""


def test_a_block_runs_from_its_name_to_the_next_and_begins_with_its_verb() -> None:
    found = queries.parse("room", TEXT)
    assert dict(found) == {"first_one": "SELECT 1;", "second": "SELECT 2\n  FROM here;"}


def test_a_missing_name_says_which_file_lacks_it() -> None:
    with pytest.raises(KeyError, match=r"no query 'third' in reader.sql of room"):
        queries.parse("reader.sql of room", TEXT)["third"]
    with pytest.raises(KeyError, match=r"no query 'third' in queries.sql of services.chassis"):
        queries.load("services.chassis")["third"]
    with pytest.raises(KeyError, match=r"no query 'third' in reader.sql, chain.sql of services.ledger"):
        queries.load("services.ledger", "reader.sql", "chain.sql")["third"]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("-- a --\nSELECT 1;\n-- a --\nSELECT 2;", "line 3: a is there twice"),
        ("SELECT 1;\n-- a --\nSELECT 2;", "line 1: SQL before the first"),
        ("-- a --\n-- only words\n-- b --\nSELECT 2;", "a has no SQL"),
    ],
)
def test_a_file_that_breaks_the_form_is_refused_with_its_place(text: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=f"^a.sql of room.*{complaint}"):
        queries.parse("a.sql of room", text)


def test_a_name_is_in_one_file_only() -> None:
    with pytest.raises(ValueError, match=r"^reader.sql of services.ledger: [a-z_]+ is in another file, too"):
        queries.load("services.ledger", "reader.sql", "reader.sql")


def test_the_file_of_a_package_is_found_inside_it() -> None:
    assert "lock_migrations" in queries.load("services.chassis")
