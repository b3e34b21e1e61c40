"""The protocol as its readers find it: every part explained, exact numbers only, nothing unspecified by accident."""

import importlib.util
from collections.abc import Iterator
from pathlib import Path

import pytest
from google.protobuf import descriptor_pb2
from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
)
from grpc_tools import protoc

PROTO = Path(__file__).parents[2] / "proto"

Part = tuple[str, tuple[int, ...]]
"""A name and its path in `SourceCodeInfo`."""


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[FileDescriptorProto]:
    """Read our files with their comments."""
    described = tmp_path_factory.mktemp("proto") / "all.binpb"
    spec = importlib.util.find_spec("google.rpc")
    assert spec is not None and spec.submodule_search_locations is not None
    googleapis = Path(spec.submodule_search_locations[0]).parents[1]
    well_known = Path(protoc.__file__).parent / "_proto"
    sources = sorted(str(file) for file in PROTO.rglob("*.proto"))
    roots = [f"-I{root}" for root in (PROTO, googleapis, well_known)]
    asked = ["protoc", *roots, "--include_source_info", f"--descriptor_set_out={described}", *sources]
    assert protoc.main(asked) == 0
    read = descriptor_pb2.FileDescriptorSet.FromString(described.read_bytes())
    assert len(read.file) == len(sources) >= 3
    return list(read.file)


def enum_parts(enum: EnumDescriptorProto, path: tuple[int, ...]) -> Iterator[Part]:
    yield enum.name, path
    yield from ((f"{enum.name}.{value.name}", (*path, 2, place)) for place, value in enumerate(enum.value))


def message_parts(message: DescriptorProto, path: tuple[int, ...]) -> Iterator[Part]:
    if message.options.map_entry:
        return
    yield message.name, path
    yield from ((f"{message.name}.{field.name}", (*path, 2, place)) for place, field in enumerate(message.field))
    for place, nested in enumerate(message.nested_type):
        yield from message_parts(nested, (*path, 3, place))
    for place, enum in enumerate(message.enum_type):
        yield from enum_parts(enum, (*path, 4, place))


def parts(file: FileDescriptorProto) -> Iterator[Part]:
    """List whatever a reader may ask about."""
    for place, service in enumerate(file.service):
        yield service.name, (6, place)
        yield from ((f"{service.name}.{call.name}", (6, place, 2, i)) for i, call in enumerate(service.method))
    for place, message in enumerate(file.message_type):
        yield from message_parts(message, (4, place))
    for place, enum in enumerate(file.enum_type):
        yield from enum_parts(enum, (5, place))


def messages(file: FileDescriptorProto) -> Iterator[DescriptorProto]:
    waiting = list(file.message_type)
    while waiting:
        message = waiting.pop()
        yield message
        waiting.extend(message.nested_type)


def enums(file: FileDescriptorProto) -> Iterator[EnumDescriptorProto]:
    yield from file.enum_type
    for message in messages(file):
        yield from message.enum_type


def test_every_part_of_the_protocol_is_explained_above_it(files: list[FileDescriptorProto]) -> None:
    bare = []
    for file in files:
        explained = {
            tuple(location.path) for location in file.source_code_info.location if location.leading_comments.strip()
        }
        listed = list(parts(file))
        assert listed
        bare.extend(f"{file.name}: {name}" for name, path in listed if path not in explained)
    assert bare == []


def test_no_float_and_no_unsigned_number_travels(files: list[FileDescriptorProto]) -> None:
    forbidden = {
        FieldDescriptorProto.TYPE_FLOAT,
        FieldDescriptorProto.TYPE_DOUBLE,
        FieldDescriptorProto.TYPE_UINT32,
        FieldDescriptorProto.TYPE_UINT64,
        FieldDescriptorProto.TYPE_FIXED32,
        FieldDescriptorProto.TYPE_FIXED64,
    }
    bad = [
        f"{file.name}: {message.name}.{field.name}"
        for file in files
        for message in messages(file)
        for field in message.field
        if field.type in forbidden
    ]
    assert bad == []


def test_the_first_value_of_every_enum_says_nothing(files: list[FileDescriptorProto]) -> None:
    for file in files:
        for enum in enums(file):
            assert (enum.value[0].number, enum.value[0].name[-12:]) == (0, "_UNSPECIFIED"), enum.name


def test_a_file_lies_where_its_package_says(files: list[FileDescriptorProto]) -> None:
    for file in files:
        assert file.name.rpartition("/")[0] == file.package.replace(".", "/")
        assert file.package.startswith("hivecore.")
