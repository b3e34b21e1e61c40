"""A decoder that remembers says of any block what one says that remembers nothing, whatever came before."""

from collections.abc import Callable
from typing import Any

import hpack
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from services.transport import fields, heads
from services.transport.fields import (
    FIELD_BYTES_EXTRA,
    NO_TABLE,
    REMEMBERED_BLOCKS_MAX,
    Decoder,
    Fields,
    TooLarge,
    Unsound,
    encoded,
)
from services.transport.frames import ConnectionFault, ErrorCode
from services.transport.heads import RequestHead, request_head

BYTES_MAX = 700

NAMES = (":method", ":path", ":scheme", "te", "content-type", "grpc-timeout", "grpc-encoding", "x-request-id", "a-bin")
VALUES = (
    "POST",
    "GET",
    "http",
    "/a/b",
    "application/grpc",
    "1S",
    "19999m",
    "9",
    "trailers",
    "YQ",
    "!",
    "\t",
    "x" * 140,
)

usual = st.just(
    [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", "/a/b"),
        ("te", "trailers"),
        ("content-type", "application/grpc"),
    ]
)
pairs = st.lists(st.tuples(st.sampled_from(NAMES), st.sampled_from(VALUES)), max_size=6)
ours = st.builds(lambda begun, further: encoded(begun + further), st.one_of(usual, pairs), pairs)
theirs = st.builds(
    lambda begun, further, huffman: bytes(hpack.Encoder().encode(begun + further, huffman=huffman)),
    usual,
    pairs,
    st.booleans(),
)
hostile = st.one_of(
    st.binary(max_size=40),
    st.sampled_from(
        [b"\x82" * 40, b"\x00\x00", b"\x00\x01x\x7f\xff\xff\xff\xff\xff\x01", b"\x20", b"\x3f\xe1\x1f", b"\x80"]
    ),
    st.builds(
        lambda name, value: encoded([(name, value)]), st.sampled_from(["connection", "A", "x"]), st.text("\x00\x7fé x")
    ),
)
whole = st.one_of(ours, ours, theirs, hostile)
blocks = st.one_of(
    whole,
    st.builds(lambda block, end: block[:end], whole, st.integers(0, 200)),
    st.builds(lambda block, further: block + further, ours, hostile),
)


def plainly(block: bytes) -> list[tuple[str, str]]:
    """Read a block field by field with the library alone."""
    found: list[tuple[str, str]] = []
    at = 0
    while at < len(block):
        pair, at = _next(block, at)
        if pair is not None:
            found.append(fields._sound(*pair))
            if len(found) * FIELD_BYTES_EXTRA > BYTES_MAX:
                raise TooLarge
    if sum(len(name) + len(value) + FIELD_BYTES_EXTRA for name, value in found) > BYTES_MAX:
        raise TooLarge
    return found


def _next(block: bytes, at: int) -> tuple[tuple[bytes, bytes] | None, int]:
    """Find where a field ends by trying: the library takes it no sooner."""
    for end in range(at + 1, len(block) + 1):
        decoder = hpack.Decoder()
        decoder.header_table_size = decoder.max_allowed_table_size = 0
        try:
            read: Any = list(decoder.decode(block[at:end], raw=True))
        except hpack.HPACKError:
            continue
        return ((bytes(read[0][0]), bytes(read[0][1])) if read else None), end
    raise ConnectionFault(ErrorCode.COMPRESSION_ERROR, "there is no end")


Said = tuple[list[tuple[str, str]] | type[Exception], RequestHead | type[Exception] | None]


def said(read: Callable[[bytes], Any], head: Callable[[Any], RequestHead], block: bytes) -> Said:
    """Give what is made of a block: fields and a request's head, or what is raised in place of either."""
    try:
        found = read(block)
    except (Unsound, TooLarge, ConnectionFault) as refused:
        return type(refused), None
    try:
        return list(found), head(found)
    except Unsound:
        return list(found), Unsound


def remembering() -> Decoder:
    decoder = Decoder(BYTES_MAX)
    decoder.forbid_table()
    decoder.decode(NO_TABLE)
    return decoder


@given(
    st.lists(blocks, max_size=8).flatmap(
        lambda some: st.lists(st.sampled_from(some), max_size=16) if some else st.just([])
    )
)
def test_what_came_before_changes_nothing(some: list[bytes]) -> None:
    decoder = remembering()
    for block in some:
        expected = said(plainly, lambda found: heads._whole(Fields(found)), block)
        assert said(decoder.decode, request_head, block) == expected


def test_the_beginning_of_requests_is_read_once_and_the_rest_each_time() -> None:
    decoder = remembering()
    begun = [(":method", "POST"), (":scheme", "http"), (":path", "/a/b"), ("content-type", "application/grpc")]
    read = []
    for number in range(10 * REMEMBERED_BLOCKS_MAX):
        told = [*begun, ("grpc-timeout", f"{number}S"), ("x-request-id", f"{number:x}")]
        found = decoder.decode(encoded(told))
        assert found == told
        assert request_head(found) == ("/a/b", number, "identity", (("x-request-id", f"{number:x}"),))
        read.append(found.begun)
        assert len(decoder._remembered_blocks) <= REMEMBERED_BLOCKS_MAX >= len(decoder._beginnings)
    assert read[0] is None
    assert all(each == begun for each in read[1:])
    assert len({id(each) for each in read[1:]}) == 1


@given(
    st.lists(st.tuples(st.sampled_from([None, None, 0, 256, 4_096]), st.sampled_from(["one", "two"]), st.booleans()))
)
@example([(0, "one", True), (4_096, "one", True), (0, "one", True), (4_096, "one", True), (None, "two", True)])
def test_a_table_that_comes_and_goes_is_followed(steps: list[tuple[int | None, str, bool]]) -> None:
    writer, decoder = hpack.Encoder(), Decoder(BYTES_MAX)
    for table_bytes, value, is_long in steps:
        if table_bytes is not None:
            writer.header_table_size = table_bytes
        told = [("x-a", "a"), ("x-b", value), ("x-c", "c")][: 3 if is_long else 2]
        assert decoder.decode(writer.encode(told)) == told


@pytest.mark.parametrize("size", [1, 126, 127, 128, 300, 16_511, 16_512])
def test_texts_of_any_size_are_read_as_they_were_written(size: int) -> None:
    decoder = Decoder(1 << 20)
    decoder.decode(NO_TABLE)
    for _ in range(2):
        assert decoder.decode(encoded([("n" * size, "v" * size), ("a", "")])) == [("n" * size, "v" * size), ("a", "")]
