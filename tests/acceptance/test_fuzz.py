"""What nobody should send is refused in words, and the books are as they were. The long form is `make fuzz`."""

from pathlib import Path

from services.cli.bank import Bank
from services.cli.topology import BankOptions
from tools.fuzz import PARSERS, SERVICE, Maker, Report, fuzz_bank, fuzz_parsers

REQUESTS = 800
SEED = 7


async def test_no_request_makes_a_bug_show_or_a_process_die_or_the_books_unsound(tmp_path: Path) -> None:
    report = Report()
    async with Bank.open(BankOptions(data=tmp_path / "bank", shards=2, port=0)) as bank:
        await fuzz_bank(bank, Maker(SEED), report, lambda count: count >= REQUESTS)
    assert report.bugs == {}, "\n".join(report.lines())
    assert set(report.requests) == set(SERVICE.methods_by_name)
    assert {"OK", "INVALID_ARGUMENT", "UNAUTHENTICATED"} <= report.codes.keys()


def test_no_file_makes_a_parser_say_more_than_that_it_is_refused() -> None:
    report = Report()
    fuzz_parsers(Maker(SEED), report, 500)
    assert report.bugs == {}, "\n".join(report.lines())
    assert report.files.keys() == PARSERS.keys()
