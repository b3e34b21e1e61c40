"""A real bank's accounts and payment orders through `hivecore import` and `hivecore pay`, where the files are at hand."""

import csv
from decimal import Decimal
from pathlib import Path

import pytest
from command_line import open_bank

REAL_FILES = Path(__file__).parents[3] / "shared" / "data" / "czech_bank"


@pytest.mark.skipif(not REAL_FILES.is_dir(), reason="the files of the Czech bank are not beside the repository")
async def test_the_czech_bank_is_imported_and_paid_twice_without_a_second_effect(tmp_path: Path) -> None:
    async with open_bank(tmp_path / "bank") as user:
        totals = []
        for _ in range(2):
            imported = await user.get("import", REAL_FILES, "--fund", "10000.00")
            assert [imported[what]["done"] for what in ("customers", "accounts", "funding")] == [5_369, 4_500, 4_500]
            paid = await user.get("pay", REAL_FILES)
            assert paid["payments"]["done"] == 6_471
            assert all(total["nostro_minor"] == total["posted_minor"] for total in paid["totals"])
            totals.append(paid["totals"])
            (everything,) = paid["grand_totals"]
            assert everything["file_minor"] == sum_of_amounts(REAL_FILES / "payments.csv")
            assert everything["posted_minor"] == everything["file_minor"]
        assert totals[0] == totals[1]
        assert len(totals[0]) == 13
        assert (await user.get("audit", "--in-flight-seconds-max", "0"))["is_clean"]


def sum_of_amounts(file: Path) -> int:
    """Add up a file's amounts another way than the command does, in minor units."""
    with file.open(newline="") as lines:
        return int(sum(Decimal(row["amount"]) for row in csv.DictReader(lines)) * 100)
