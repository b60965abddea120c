"""Models opened from files and from memory, whole and broken."""

from __future__ import annotations

import hashlib
import os
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from google.protobuf.message import DecodeError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import ModelProto, TensorProto, helper, numpy_helper
from wire_bytes import ModelWriter, block, tag, varint

from halve.errors import DataError, ModelError, OptionError
from halve.source import iter_tensors, open_model, payload_index, read_array, read_payload
from halve.source.open import _bind, _copied
from halve.source.structure import without_payload
from halve.types import PAYLOAD_KEY


def weights(count: int = 1000, name: str = "w") -> TensorProto:
    return numpy_helper.from_array(np.arange(count, dtype=np.float32), name)


def model(*tensors: TensorProto) -> ModelProto:
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node("Relu", ["x"], ["y"], name="act")],
        "main",
        [value("x", TensorProto.FLOAT, [1])],
        [value("y", TensorProto.FLOAT, [1])],
        list(tensors),
    )
    return helper.make_model(graph, ir_version=8)


def saved(folder: Path, proto: ModelProto | bytes) -> Path:
    path = folder / "model.onnx"
    path.write_bytes(proto if isinstance(proto, bytes) else proto.SerializeToString())
    return path


def test_large_payload_stays_in_the_file_and_small_in_the_proto(tmp_path: Path) -> None:
    path = saved(tmp_path, model(weights(256, "large"), weights(255, "small")))
    opened = open_model(path)
    large, small = opened.proto.graph.initializer
    assert (payload_index(large), payload_index(small)) == (0, None)
    (ref,) = opened.refs
    assert (ref.name, ref.dtype, ref.shape, ref.nbytes, ref.field) == ("large", 1, (256,), 1024, 9)
    assert ref.origin == path.resolve() == opened.path
    assert ref.where == "graph, initializer 'large'"
    assert np.array_equal(read_array(ref), np.arange(256, dtype=np.float32))
    assert small == weights(255, "small")
    assert opened.nbytes == path.stat().st_size
    assert opened.data_files == ()


def test_a_model_in_memory_is_not_changed() -> None:
    proto = model(weights())
    before = proto.SerializeToString()
    opened = open_model(proto)
    assert proto.SerializeToString() == before
    assert opened.path is None
    assert opened.nbytes == len(before)
    assert read_payload(opened.refs[0]) == weights().raw_data


def test_refs_are_numbered_as_the_tensors_come(tmp_path: Path) -> None:
    body = helper.make_graph([], "body", [], [], [weights(300, "inner")])
    node = helper.make_node("If", ["c"], ["y"], then_branch=body, else_branch=body)
    constant = helper.make_node("Constant", [], ["k"], value=weights(400, "k"))
    proto = model(weights(500, "outer"))
    proto.graph.node.extend([node, constant])
    proto.functions.add(name="f", domain="d").node.append(constant)
    opened = open_model(saved(tmp_path, proto))
    found = [payload_index(tensor) for _, tensor in iter_tensors(opened.proto)]
    assert found == [0, 1, 2, 3, 4]
    assert [ref.name for ref in opened.refs] == ["outer", "inner", "inner", "k", "k"]
    assert [ref.where for ref in opened.refs][1] == (
        "graph, node 1 '' (If), attribute 'else_branch', initializer 'inner'"
    )
    assert opened.refs[4].where == "function 'd:f', node 0 '' (Constant), attribute 'value'"


def test_merged_occurrences_make_one_payload(tmp_path: Path) -> None:
    head = TensorProto(data_type=1, dims=[4]).SerializeToString()
    pieces = [np.array(v, "<f4").tobytes() for v in ([1.0, 2.0, 3.0], [4.0])]
    attribute = (
        block(1, b"value") + block(5, head + block(4, pieces[0])) + block(5, block(4, pieces[1]))
    )
    data = model().SerializeToString() + block(7, block(1, block(5, attribute)))
    (ref,) = open_model(saved(tmp_path, data)).refs
    assert len(ref.spans) == 2
    assert read_array(ref).tolist() == [1, 2, 3, 4]


@pytest.mark.parametrize("size", [0, 1])
def test_empty_tensors_and_scalars(tmp_path: Path, size: int) -> None:
    shape = [0, 7] if size == 0 else []
    tensor = TensorProto(name="t", data_type=1, dims=shape, raw_data=bytes(4 * size))
    opened = open_model(saved(tmp_path, model(tensor)))
    assert opened.refs == ()
    assert opened.proto.graph.initializer[0] == tensor


def test_types_that_are_unknown_or_less_than_a_byte(tmp_path: Path) -> None:
    newer = TensorProto(name="n", data_type=97, dims=[3], raw_data=bytes(1100))
    packed = TensorProto(name="p", data_type=TensorProto.INT4, dims=[2049], raw_data=bytes(1025))
    opened = open_model(saved(tmp_path, model(newer, packed)))
    assert [ref.nbytes for ref in opened.refs] == [1100, 1025]


def test_names_that_are_not_utf8(tmp_path: Path) -> None:
    data = model(weights(300, "AAAA")).SerializeToString()
    data = data.replace(b"AAAA", b"\xff\xfeAA").replace(b"act", b"\xc3\x28t")
    opened = open_model(saved(tmp_path, data))
    assert opened.refs[0].name.encode("utf-8", "surrogateescape") == b"\xff\xfeAA"
    again = open_model(ModelProto.FromString(data))
    assert again.digest == opened.digest
    assert opened.proto.graph.node[0].name == b"\xc3\x28t"


def test_the_digest_is_of_the_model_not_of_its_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = saved(tmp_path, model(weights()))
    first = open_model(path)
    monkeypatch.chdir(tmp_path)
    assert open_model("model.onnx").digest == first.digest
    assert open_model(model(weights())).digest == first.digest
    assert len(first.digest) == len(hashlib.sha256().hexdigest())
    assert open_model(model(weights(1001))).digest != first.digest
    assert open_model(model(weights(name="v"))).digest != first.digest


def test_a_link_to_a_model_is_followed(tmp_path: Path) -> None:
    path = saved(tmp_path, model(weights()))
    link = tmp_path / "link.onnx"
    link.symlink_to(path)
    assert open_model(link).path == path.resolve()


BROKEN = {
    "empty": (b"", "is empty"),
    "truncated": (model(weights()).SerializeToString()[:-100], "field 7 has .* bytes where"),
    "json": (b'{"irVersion": "8"}', "looks like JSON"),
    "html": (b"<!DOCTYPE html><html></html>", "looks like HTML"),
    "lfs": (b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\n", "git lfs pull"),
    "ort": (b"\x28\x00\x00\x00ORTM" + bytes(64), r"\.ort file of ONNX Runtime"),
    "zip": (b"PK\x03\x04" + bytes(30), "zip archive"),
    "gguf": (b"GGUF\x03\x00\x00\x00", "GGUF"),
    "random": (bytes(range(7, 200)), "no ONNX model|byte 0"),
    "other protobuf": (block(1, b"abc") + tag(2, 0) + varint(5), "it has no graph"),
    "graph alone": (block(7, b""), "neither an IR version nor opsets"),
    "bad inner message": (tag(1, 0) + b"\x08" + block(7, block(11, b"\xff")), "no ONNX model"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_files_that_are_no_model(tmp_path: Path, kind: str) -> None:
    data, words = BROKEN[kind]
    path = saved(tmp_path, data)
    with pytest.raises(ModelError, match=words) as caught:
        open_model(path)
    assert str(path) in str(caught.value)
    assert path.read_bytes() == data


def test_paths_that_are_no_file(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="No such file"):
        open_model(tmp_path / "absent.onnx")
    with pytest.raises(ModelError, match="is not a file"):
        open_model(tmp_path)
    with pytest.raises(ModelError, match="is not a file"):
        open_model("/dev/null")
    with pytest.raises(ModelError, match=r"cannot be opened.*null"):
        open_model("a\0b")
    loop = tmp_path / "loop.onnx"
    loop.symlink_to(loop)
    with pytest.raises(ModelError, match="cannot be opened"):
        open_model(loop)
    os.mkfifo(tmp_path / "pipe.onnx")
    with pytest.raises(ModelError, match="is not a file"):
        open_model(tmp_path / "pipe.onnx")
    with pytest.raises(OptionError, match="int; allowed: a path or a ModelProto"):
        open_model(5)  # type: ignore[arg-type]


def test_a_file_beyond_the_limit_of_protobuf(tmp_path: Path) -> None:
    path = saved(tmp_path, model())
    os.truncate(path, 1 << 31)
    with pytest.raises(ModelError, match=r"2147483648 bytes.*can hold 2147483647.*external data"):
        open_model(path)


def test_an_empty_model_in_memory() -> None:
    with pytest.raises(ModelError, match="the model in memory is no ONNX model"):
        open_model(ModelProto())


WRONG_PAYLOAD = {
    "short": (TensorProto(data_type=1, dims=[300], raw_data=bytes(1196)), "1196 bytes.*needs 1200"),
    "long": (TensorProto(data_type=1, dims=[300], raw_data=bytes(1204)), "1204 bytes.*needs 1200"),
    "small": (TensorProto(data_type=1, dims=[3], raw_data=bytes(11)), "11 bytes.*needs 12"),
    "none": (TensorProto(data_type=1, dims=[3], raw_data=b""), "0 bytes.*needs 12"),
    "numbers": (TensorProto(data_type=1, dims=[3], float_data=[1]), "float_data has 4 bytes"),
    "doubles": (TensorProto(data_type=11, dims=[3], double_data=[1]), "double_data has 8 bytes"),
    "type": (TensorProto(data_type=7, dims=[1], float_data=[1]), "element type INT64; allowed"),
    "nibbles": (TensorProto(data_type=22, dims=[3], raw_data=b"a"), "1 bytes.*INT4 needs 2"),
    "negative": (TensorProto(data_type=1, dims=[-1], raw_data=b"a"), "negative dimension"),
}


@pytest.mark.parametrize("kind", WRONG_PAYLOAD)
def test_payload_that_does_not_fit_its_tensor(tmp_path: Path, kind: str) -> None:
    tensor, words = WRONG_PAYLOAD[kind]
    tensor.name = "bad one"
    path = saved(tmp_path, model(tensor))
    with pytest.raises(ModelError, match=words) as caught:
        open_model(path)
    assert str(path) in str(caught.value)
    assert "'bad one'" in str(caught.value)


def test_payload_in_two_fields_contradicts_itself(tmp_path: Path) -> None:
    tensor = TensorProto(data_type=1, dims=[300], raw_data=bytes(1200), float_data=[0] * 300)
    with pytest.raises(ModelError, match=r"payload in several fields \(numbers \[4, 9\]"):
        open_model(saved(tmp_path, model(tensor)))


def test_payload_beside_integers_contradicts_itself(tmp_path: Path) -> None:
    tensor = TensorProto(data_type=1, dims=[300], raw_data=bytes(1200), int32_data=[1])
    with pytest.raises(ModelError, match=r"payload in several fields \(numbers \[5, 9\]"):
        open_model(saved(tmp_path, model(tensor)))


def test_a_reserved_entry_in_the_input(tmp_path: Path) -> None:
    for index in ("0", "1", "x"):
        tensor = weights()
        tensor.external_data.add(key=PAYLOAD_KEY, value=index)
        with pytest.raises(ModelError, match="halve itself uses that key"):
            open_model(saved(tmp_path, model(tensor)))


def test_unloaded_external_data_in_memory() -> None:
    tensor = TensorProto(name="w", data_type=1, dims=[1], data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value="w.bin")
    with pytest.raises(DataError, match="not loaded; pass the path of the model file"):
        open_model(model(tensor))


@pytest.mark.parametrize("count", [3, 300])
def test_external_data_that_is_loaded_counts_as_embedded(count: int) -> None:
    tensor = weights(count)
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="not there")
    opened = open_model(model(tensor))
    assert read_array(opened.refs[0]).tolist() == list(range(count))
    left = opened.proto.graph.initializer[0]
    assert left.data_location == TensorProto.DEFAULT
    assert payload_index(left) == 0


@pytest.mark.parametrize("count", [3, 300])
def test_embedded_and_external_in_a_file_contradict(tmp_path: Path, count: int) -> None:
    tensor = weights(count)
    tensor.data_location = TensorProto.EXTERNAL
    with pytest.raises(ModelError, match="both embedded and external data"):
        open_model(saved(tmp_path, model(tensor)))
    tensor.ClearField("raw_data")
    tensor.int64_data.append(1)
    with pytest.raises(ModelError, match="both embedded and external data"):
        open_model(saved(tmp_path, model(tensor)))


SEEDS = st.integers(0, 2**64 - 1)
many = settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def real_model() -> bytes:
    tensor = weights(300)
    proto = model(tensor, TensorProto(name="f", data_type=1, dims=[300], float_data=range(300)))
    external = TensorProto(name="e", data_type=1, dims=[9], data_location=TensorProto.EXTERNAL)
    external.external_data.add(key="location", value="e.bin")
    external.external_data.add(key="offset", value="4")
    proto.graph.initializer.append(external)
    proto.graph.node.add(op_type="Constant").attribute.append(
        helper.make_attribute("value", tensor)
    )
    return proto.SerializeToString()


@many
@given(SEEDS)
def test_damaged_models_open_or_fail_with_one_error(
    tmp_path_factory: pytest.TempPathFactory, seed: int
) -> None:
    chance = random.Random(seed)
    data = bytearray(real_model())
    header = [i for i in range(len(data)) if not 150 < i < 1200]
    for _ in range(chance.randrange(1, 4)):
        at = chance.choice(header) if chance.random() < 0.9 else chance.randrange(len(data))
        data[at : at + chance.randrange(2)] = chance.randbytes(chance.randrange(3))
    folder = tmp_path_factory.getbasetemp()
    (folder / "e.bin").write_bytes(bytes(40))
    path = saved(folder, bytes(data))
    try:
        opened = open_model(path)
    except ModelError:
        return
    for ref in opened.refs:
        assert len(read_payload(ref)) == ref.nbytes


@many
@given(SEEDS, st.sampled_from([1, 50, 1024]))
def test_the_copy_of_a_model_too_large_to_serialise(seed: int, threshold: int) -> None:
    # protobuf keeps a tag longer than needed where it does not know the value; the copy does not.
    data = ModelWriter(seed, longer=False).model()
    source = ModelProto.FromString(data)
    copy, payloads = without_payload(source, threshold)
    assert source.SerializeToString(deterministic=True) == ModelProto.FromString(
        data
    ).SerializeToString(deterministic=True)
    for _, left in iter_tensors(copy):
        for entry in [e for e in left.external_data if e.key == PAYLOAD_KEY]:
            number, content = payloads[int(entry.value)]
            left.MergeFromString(block(number, content))
            left.external_data.remove(entry)
    assert copy.SerializeToString(deterministic=True) == source.SerializeToString(
        deterministic=True
    )


def test_a_model_too_large_to_serialise_binds_as_any_other() -> None:
    floats = TensorProto(name="f", data_type=1, dims=[300], float_data=range(300))
    proto = model(weights(), floats, weights(3, "small"))
    copied, nbytes = _copied(proto)
    refs = _bind(copied)
    opened = open_model(proto)
    assert copied.proto == opened.proto
    assert [read_payload(ref) for ref in refs] == [read_payload(ref) for ref in opened.refs]
    assert [ref.field for ref in refs] == [9, 4]
    assert abs(nbytes - opened.nbytes) < 200  # headers and entries only


def test_damage_of_a_protobuf_error_is_ours(tmp_path: Path) -> None:
    data = BROKEN["bad inner message"][0]
    with pytest.raises(DecodeError):
        ModelProto.FromString(data)
    with pytest.raises(ModelError):
        open_model(saved(tmp_path, data))


CHILD = """
import resource, sys
from halve.source import open_model
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
opened = open_model(sys.argv[1])
after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(len(opened.refs), sum(ref.nbytes for ref in opened.refs), after - before)
"""


def sparse_model(path: Path, sizes: list[int]) -> None:
    """A model with tensors of `sizes` floats whose payloads are holes of the file."""
    heads = []
    for number, count in enumerate(sizes):
        head = TensorProto(name=f"w{number}", data_type=1, dims=[count]).SerializeToString()
        heads.append(head + tag(9, 2) + varint(4 * count))
    tensors = [len(head) + 4 * count for head, count in zip(heads, sizes, strict=True)]
    graph = sum(len(tag(5, 2) + varint(size)) + size for size in tensors)
    with path.open("wb") as file:
        file.write(tag(1, 0) + b"\x08" + tag(7, 2) + varint(graph))
        for head, size, count in zip(heads, tensors, sizes, strict=True):
            file.write(tag(5, 2) + varint(size) + head)
            file.seek(4 * count, os.SEEK_CUR)
        file.truncate(file.tell())


@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss counts KiB on Linux only")
def test_a_large_embedded_model_costs_a_few_megabytes(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    sparse_model(path, [(16 << 20) - 1] * 29)
    assert path.stat().st_size > 1_900_000_000
    child = [sys.executable, "-c", CHILD, str(path)]
    out = subprocess.run(child, check=True, capture_output=True, text=True).stdout
    count, nbytes, kilobytes = map(int, out.split())
    assert (count, nbytes) == (29, 29 * 4 * ((16 << 20) - 1))
    assert kilobytes < 8 << 10


@pytest.mark.huge
def test_a_model_in_memory_beyond_two_gibibytes() -> None:
    proto = model()
    for number in range(3):
        tensor = proto.graph.initializer.add(name=f"w{number}", data_type=1, dims=[200 << 20])
        tensor.raw_data = bytes([number]) * (800 << 20)
    opened = open_model(proto)
    assert opened.nbytes > 1 << 31
    assert [read_payload(ref)[:1] for ref in opened.refs] == [b"\0", b"\1", b"\2"]
