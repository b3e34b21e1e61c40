"""Fields as bytes: what we write others read, what others write we read, whatever was read before."""

import random

import hpack
import pytest

from services.transport.fields import (
    REMEMBERED_FIELDS_MAX,
    Decoder,
    TooLarge,
    Unsound,
    encoded,
    message_of,
    message_text,
)
from services.transport.frames import ConnectionFault
from services.transport.heads import seconds_of, timeout_of

BYTES_MAX = 16_384
NAMES = (":path", ":method", "content-type", "authorization", "x-request-id", "te", "grpc-timeout", "a" * 130)


def _drawn(chance: random.Random) -> list[tuple[str, str]]:
    texts = ("", "POST", "application/grpc", "x" * chance.randrange(400), f"{chance.random():.3f}", "~ \t!")
    return [(chance.choice(NAMES), chance.choice(texts)) for _ in range(chance.randrange(12))]


@pytest.mark.parametrize("seed", range(10))
def test_what_we_write_the_library_reads(seed: int) -> None:
    chance = random.Random(seed)
    reader = hpack.Decoder()
    for _ in range(50):
        fields = _drawn(chance)
        assert [(str(name), str(value)) for name, value in reader.decode(encoded(fields))] == fields


@pytest.mark.parametrize("table_bytes", [4_096, 0])
@pytest.mark.parametrize("seed", range(10))
def test_what_the_library_writes_we_read_with_and_without_a_table(seed: int, table_bytes: int) -> None:
    chance = random.Random(seed)
    writer, reader = hpack.Encoder(), Decoder(BYTES_MAX)
    for _ in range(20):
        fields = _drawn(chance)
        assert reader.decode(writer.encode(fields, huffman=chance.random() < 0.5)) == fields
    writer.header_table_size = table_bytes
    if not table_bytes:
        reader.forbid_table()
    for _ in range(20 * REMEMBERED_FIELDS_MAX // len(NAMES)):
        fields = _drawn(chance)
        assert reader.decode(writer.encode(fields, huffman=chance.random() < 0.5)) == fields


def test_a_table_given_up_and_taken_again_before_it_was_forbidden_is_followed() -> None:
    writer, reader = hpack.Encoder(), Decoder(BYTES_MAX)
    for table_bytes in (0, 4_096, 0, 256, 4_096):
        writer.header_table_size = table_bytes
        for _ in range(3):
            fields = [("x-a", "one"), ("x-b", "two"), ("x-a", "one")]
            assert reader.decode(writer.encode(fields)) == fields


def test_a_table_that_was_forbidden_ends_the_connection() -> None:
    writer, reader = hpack.Encoder(), Decoder(BYTES_MAX)
    reader.decode(writer.encode([("x-a", "one")]))
    reader.forbid_table()
    with pytest.raises(ConnectionFault):
        reader.decode(writer.encode([("x-a", "one")]))


def test_fields_beyond_the_bound_are_refused_however_few_bytes_say_them() -> None:
    reader = Decoder(BYTES_MAX)
    with pytest.raises(TooLarge):
        reader.decode(encoded([("x", "y" * BYTES_MAX)]))
    reader.forbid_table()
    with pytest.raises(TooLarge):
        reader.decode(b"\x20" + b"\x82" * 1_000)
    assert reader.decode(b"\x82") == [(":method", "GET")]


@pytest.mark.parametrize("seed", range(20))
def test_any_bytes_are_fields_or_a_fault_and_nothing_else(seed: int) -> None:
    chance = random.Random(seed)
    for has_table in (True, False):
        for _ in range(300):
            reader = Decoder(BYTES_MAX)
            if not has_table:
                reader.forbid_table()
                reader.decode(b"\x20")
            try:
                for name, value in reader.decode(chance.randbytes(chance.randrange(40))):
                    assert name.isascii()
                    assert value.isascii()
            except (ConnectionFault, TooLarge, Unsound):
                pass


@pytest.mark.parametrize("text", ["", "plain", "příliš % daleko\n", "\x00\x7f", "100%"])
def test_status_messages_come_back_as_they_were(text: str) -> None:
    worded = message_text(text)
    assert worded.isascii()
    assert worded.isprintable()
    assert message_of(worded) == text


@pytest.mark.parametrize("seconds", [0.0, 0.0001, 0.5, 20.0, 59.999, 3_600.0, 10**6])
def test_timeouts_are_never_shortened_and_hardly_lengthened(seconds: float) -> None:
    assert seconds <= seconds_of(timeout_of(seconds)) <= seconds + 1.0
