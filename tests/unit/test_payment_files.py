"""A pain.001 is read whole or refused in one sentence, and what is wrong with it is said where it is wrong."""

from datetime import timedelta
from io import BytesIO

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from payment_files import NAMESPACE, TODAY, by_sepaxml, document, information, read, transfer

from services.cli.iso20022 import checking, hostile, orders, reasons, report
from services.cli.iso20022.orders import FileRefused
from services.cli.iso20022.report import Status
from services.domain.outcomes import Refusal

PAYMENTS = [
    {"IBAN": "DE89370400440532013000", "BIC": "COBADEFFXXX", "amount": 1250, "endtoend_id": f"E{n}"} for n in (1, 2)
]


@pytest.mark.parametrize("schema", ["pain.001.001.03", "pain.001.001.09", "pain.001.001.10", "pain.001.001.11"])
@pytest.mark.parametrize("batch", [True, False])
def test_what_a_known_generator_writes_is_read(schema: str, *, batch: bool) -> None:
    file = read(by_sepaxml(schema, "CZ6508000000192000145399", PAYMENTS, batch=batch))
    assert file.message_name == schema
    assert len(file.informations) == (1 if batch else 2)
    information = file.informations[0]
    assert (information.debtor_account, information.execution_date) == ("CZ6508000000192000145399", "2026-11-27")
    first = information.transfers[0]
    assert (first.amount, first.currency_code, first.creditor_bank) == ("12.50", "CZK", "COBADEFFXXX")
    assert (first.end_to_end_id, first.remittance_text) == ("E1", "invoice")
    assert checking.check(file, TODAY) == checking.Findings()


def test_white_space_and_comments_do_not_make_another_file_but_a_word_does() -> None:
    content = document(information(transfer()))
    spread = content.replace(b"><", b"> <!-- so --> \n <")
    assert read(spread).digest == read(content).digest
    assert read(content.replace(b"10.00", b"10.01")).digest != read(content).digest
    assert read(content.replace(b"Somebody", b"Nobody")).digest != read(content).digest


HOSTILE = {
    "an entity that grows": b'<!DOCTYPE d [<!ENTITY a "x"><!ENTITY b "&a;&a;">]><d>&b;</d>',
    "an external entity": b'<!DOCTYPE d [<!ENTITY a SYSTEM "file:///etc/passwd">]><d>&a;</d>',
    "an external document type": b'<!DOCTYPE d SYSTEM "http://127.0.0.1/d.dtd"><d/>',
    "an unknown entity": document(information(transfer())).replace(b"Somebody", b"&nobody;"),
    "depth": f'<Document xmlns="{NAMESPACE}03"><CstmrCdtTrfInitn>'.encode() + b"<a>" * 100_000,
    "a long text": document(information(transfer(inside=f"<X>{'x' * 100_000}</X>"))),
    "a long tag": b"<" + b"a" * 3_000_000,
    "a long attribute": b"<a b='" + b"x" * 3_000_000,
    "a short attribute that is too long": document(information(transfer())).replace(b'Ccy="', b'Ccy="' + b"x" * 10_000),
    "many attributes": b"<a " + b" ".join(b"a%d='1'" % n for n in range(200)) + b"/>",
    "an endless comment": b"<!--" + b"x" * 3_000_000,
    "bytes that are no text": document(information(transfer())).replace(b"Somebody", b"\xff\xfe"),
    "an encoding to be looked up": b'<?xml version="1.0" encoding="utf-7"?><a/>',
    "a codec that is none": b'<?xml version="1.0" encoding="zip"?><a/>',
    "nothing": b"",
    "half a file": document(information(transfer()))[:-40],
    "two roots": document(information(transfer())) * 2,
    "no XML": b"%PDF-1.7 \0\0\0",
    "another message": f'<Document xmlns="{NAMESPACE}09"><CstmrDrctDbtInitn/></Document>'.encode(),
    "another namespace": b'<Document xmlns="urn:iso:std:iso:20022:tech:xsd:camt.053.001.08"/>',
    "a version from before": document(version="02"),
    "no message id": document(information(transfer()), message_id=""),
    "a long message id": document(information(transfer()), message_id="x" * 36),
}


@pytest.mark.parametrize("content", HOSTILE.values(), ids=HOSTILE)
def test_what_is_no_payment_file_is_refused_in_one_sentence(content: bytes) -> None:
    with pytest.raises(FileRefused) as refused:
        read(content)
    assert 10 < len(str(refused.value)) < 300 and "\n" not in str(refused.value)


def test_a_file_is_read_in_utf_16_too() -> None:
    content = document(information(transfer())).decode().replace("UTF-8", "UTF-16").encode("utf-16")
    assert read(content).digest == read(document(information(transfer()))).digest


def test_an_endless_file_ends_at_the_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hostile, "FILE_BYTES_MAX", 1_000_000)

    class Endless(BytesIO):
        given = 0

        def read(self, size: int | None = -1, /) -> bytes:
            piece = b"<X>x</X>" * 1000 if self.given else f'<Document xmlns="{NAMESPACE}09"><CstmrCdtTrfInitn>'.encode()
            self.given += len(piece)
            return piece

    endless = Endless()
    with pytest.raises(FileRefused, match="longer than"):
        orders.read(endless)
    assert endless.given < 1_100_000


def test_too_many_payments_are_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(orders, "TRANSFERS_MAX", 2)
    assert len(read(document(information(*[transfer()] * 2))).informations[0].transfers) == 2
    with pytest.raises(FileRefused, match="more than 2"):
        read(document(information(*[transfer()] * 3)))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (document(count="0"), "FILE_EMPTY"),
        (document(information(transfer()), count="2"), "GROUP_COUNT_MISMATCH"),
        (document(information(transfer()), count="9" * 4000), "GROUP_COUNT_MISMATCH"),
        (document(information(transfer()), total="10.01"), "GROUP_SUM_MISMATCH"),
        (document(information(transfer()), total="1E999999999"), "GROUP_SUM_MISMATCH"),
        (document(information(transfer(), name="x" * 36)), "IDENTIFICATION_INVALID"),
    ],
)
def test_a_fault_of_the_group_refuses_all(content: bytes, reason: str) -> None:
    findings = checking.check(read(content), TODAY)
    assert findings.group is not None and findings.group.reason == reason


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        (information(transfer(), control="<NbOfTxs>2</NbOfTxs>"), "COUNT_MISMATCH"),
        (information(transfer(), control="<NbOfTxs>1</NbOfTxs><CtrlSum>9.99</CtrlSum>"), "SUM_MISMATCH"),
        (information(transfer(), method="CHK"), "PAYMENT_METHOD_NOT_SUPPORTED"),
        (information(transfer(), day="<Dt>2026-02-30</Dt>"), "EXECUTION_DATE_INVALID"),
        (information(transfer(), day="<Dt>2027-11-29</Dt>"), "EXECUTION_DATE_TOO_FAR"),
        (information(transfer(), day="<DtTm>2027-11-29T09:00:00Z</DtTm>"), "EXECUTION_DATE_TOO_FAR"),
        (information(transfer(), debtor=""), "DEBTOR_ACCOUNT_MISSING"),
        (information(transfer(), control="<PmtInfId>P2</PmtInfId>"), "ELEMENT_NOT_SUPPORTED"),
        (information(transfer(), name="P0"), "PAYMENT_INFORMATION_ID_REPEATED"),
    ],
)
def test_a_fault_of_a_payment_information_refuses_it_alone(changed: str, reason: str) -> None:
    findings = checking.check(read(document(information(transfer(), name="P0"), changed, count="2")), TODAY)
    assert findings.group is None and findings.of(0, 0) is None
    assert (fault := findings.of(1, 0)) is not None and fault.reason == reason


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        (transfer(amount="0"), "AMOUNT_INVALID"),
        (transfer(amount="-1.00"), "AMOUNT_INVALID"),
        (transfer(amount="1e3"), "AMOUNT_INVALID"),
        (transfer(amount="10.001"), "AMOUNT_INVALID"),
        (transfer(amount="99999999999999999"), "AMOUNT_INVALID"),
        (transfer(currency="XXY"), "AMOUNT_INVALID"),
        (transfer(currency=""), "AMOUNT_INVALID"),
        (transfer("E0"), "TRANSFER_IDENTIFICATION_REPEATED"),
        (transfer("E9", instruction="E0"), "TRANSFER_IDENTIFICATION_REPEATED"),
        (transfer(""), "IDENTIFICATION_INVALID"),
        (transfer("x" * 36), "IDENTIFICATION_INVALID"),
        (transfer(creditor=""), "CREDITOR_ACCOUNT_MISSING"),
        (transfer(creditor=f"<IBAN>{'1' * 35}</IBAN>"), "CREDITOR_ACCOUNT_INVALID"),
        (transfer(bank="not a bank"), "CREDITOR_BANK_INVALID"),
        (transfer(inside=f"<RmtInf><Ustrd>{'x' * 141}</Ustrd></RmtInf>"), "REMITTANCE_TOO_LONG"),
        (transfer(inside="<ChqInstr/>"), "ELEMENT_NOT_SUPPORTED"),
        (transfer(inside="<Amt><EqvtAmt><Amt Ccy='EUR'>1</Amt></EqvtAmt></Amt>"), "ELEMENT_NOT_SUPPORTED"),
        (transfer(inside="<CdtrAcct><Id><IBAN>CZ02</IBAN></Id></CdtrAcct>"), "ELEMENT_NOT_SUPPORTED"),
    ],
)
def test_a_fault_of_a_payment_refuses_it_alone(changed: str, reason: str) -> None:
    findings = checking.check(read(document(information(transfer("E0"), changed), count="2")), TODAY)
    assert findings.of(0, 0) is None
    assert (fault := findings.of(0, 1)) is not None and fault.reason == reason


@pytest.mark.parametrize(
    ("text", "currency_code", "minor"),
    [("10", "CZK", 1000), ("10.5", "CZK", 1050), ("10.50000", "CZK", 1050), ("10.00", "JPY", 10), ("0.001", "KWD", 1)],
)
def test_amounts_are_exact(text: str, currency_code: str, minor: int) -> None:
    (one,) = read(document(information(transfer(amount=text, currency=currency_code)))).informations[0].transfers
    assert checking.amount_minor(one) == minor


def test_control_sums_are_exact_where_decimals_would_be_rounded() -> None:
    amounts = ["999999999999999999.99999"] * 3 + ["0.00001"]
    assert str(checking.sum_exactly(amounts)) == "2999999999999999999.99998"
    assert checking.sum_exactly(["123456789012345678.12345"] * 1000) == 1000 * checking.sum_exactly(
        ["123456789012345678.12345"]
    )


def test_yesterdays_payments_are_carried_out_today() -> None:
    file = read(document(information(transfer())))
    assert checking.check(file, TODAY + timedelta(days=30)) == checking.Findings()


def test_tomorrow_s_payments_wait_for_their_day_unless_that_is_far_off() -> None:
    parts = [
        information(transfer(), name=f"P{days}", day=f"<Dt>{TODAY + timedelta(days)}</Dt>") for days in (0, 1, 366, 367)
    ]
    findings = checking.check(read(document(*parts, count="4")), TODAY)
    assert findings.days == {1: TODAY + timedelta(1), 2: TODAY + timedelta(366)}
    assert {number: fault.reason for number, fault in findings.informations.items()} == {3: "EXECUTION_DATE_TOO_FAR"}


SETTLED, ACCEPTED, IN_PROCESS, REJECTED = Status.SETTLED, Status.ACCEPTED, Status.IN_PROCESS, Status.REJECTED


@pytest.mark.parametrize(
    ("kinds", "joined"),
    [
        ({SETTLED, ACCEPTED}, ACCEPTED),
        ({ACCEPTED, IN_PROCESS, SETTLED}, ACCEPTED),
        ({IN_PROCESS, SETTLED}, IN_PROCESS),
        ({ACCEPTED, REJECTED}, Status.PARTLY),
        ({ACCEPTED, Status.PENDING}, Status.PARTLY),
    ],
)
def test_several_payments_are_as_far_as_the_last_of_them(kinds: set[Status], joined: Status) -> None:
    assert report.join(kinds) == joined


def test_every_refusal_of_the_books_has_its_code() -> None:
    assert reasons.CODE_BY_REFUSAL.keys() == set(Refusal)
    assert all(len(code) == 4 for code in reasons.CODE_BY_REASON.values())
    assert reasons.code_of("SOMETHING_NEW") == reasons.UNSPECIFIED


PIECES = st.sampled_from(
    [
        b"<",
        b">",
        b"/>",
        b"&",
        b"&a;",
        b"]]>",
        b"<![CDATA[",
        b"<!--",
        b"-->",
        b"<?x",
        b"?>",
        b"\0",
        b"\xff",
        b"\xc3",
        b"'",
        b'"',
    ]
)


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_a_spoilt_file_is_read_or_refused_but_never_breaks_anything(data: st.DataObject) -> None:
    content = document(information(transfer(), transfer("E2", bank="COBADEFF")), count="2", total="20.00")
    for _ in range(data.draw(st.integers(1, 6))):
        place = data.draw(st.integers(0, len(content)))
        cut = data.draw(st.integers(0, 30))
        piece = data.draw(PIECES | st.binary(max_size=8) | st.just(content[place : place + 200]))
        content = content[:place] + piece + content[place + cut :]
    try:
        file = read(content)
    except FileRefused:
        return
    findings = checking.check(file, TODAY)
    for number, one in enumerate(file.informations):
        for place, payment in enumerate(one.transfers):
            if findings.of(number, place) is None:
                assert checking.amount_minor(payment) >= 1


@settings(max_examples=200, deadline=None)
@given(content=st.binary(max_size=400))
def test_bytes_at_random_are_refused(content: bytes) -> None:
    with pytest.raises(FileRefused):
        read(content)
