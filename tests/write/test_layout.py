"""Where payload goes: in the model file, beside it, in shards, or where the source had it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper
from write_support import (
    arrays,
    check_halved,
    contents,
    halved,
    make_model,
    names_in,
    save,
    unchanged,
    weights_of,
)

from halve._native.features import backends
from halve.errors import OptionError
from halve.options import ConvertOptions
from halve.source import open_model, payload_index
from halve.types import CastBounds, CastJob, DType, RewrittenModel, SourceModel
from halve.write import build_model, write_model
from halve.write.layout import wants_external

LAYOUTS = {
    "embedded": ConvertOptions(),
    "external": ConvertOptions(external_data="always"),
    "shards": ConvertOptions(shard_size_bytes=300_000),
}


def write(source: SourceModel, target: Path, layout: str = "embedded") -> list[str]:
    summary = write_model(halved(source), source, target, options=LAYOUTS[layout])
    assert summary.files[0] == target
    return [path.name for path in summary.files]


@pytest.mark.parametrize("external", [False, True])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts_hold_the_right_weights(tmp_path: Path, layout: str, external: bool) -> None:
    source = save(make_model(), tmp_path / "in.onnx", external=external)
    folder = tmp_path / "out"
    folder.mkdir()
    files = write(source, folder / "m.onnx", layout)
    assert names_in(folder) == sorted(files)
    check_halved(folder / "m.onnx")


@pytest.mark.parametrize("layout", LAYOUTS)
def test_onnxruntime_loads_them(tmp_path: Path, layout: str) -> None:
    source = save(make_model(), tmp_path / "in.onnx")
    write(source, tmp_path / "m.onnx", layout)
    session = onnxruntime.InferenceSession(
        str(tmp_path / "m.onnx"), providers=["CPUExecutionProvider"]
    )
    outputs = dict(zip([o.name for o in session.get_outputs()], session.run(None, {}), strict=True))
    for name in ("a", "b", "c"):
        assert outputs[f"{name}_out"].tobytes() == arrays()[name].astype(np.float16).tobytes()


def test_names(tmp_path: Path) -> None:
    source = save(make_model(), tmp_path / "in.onnx")
    assert write(source, tmp_path / "x.onnx") == ["x.onnx"]
    assert write(source, tmp_path / "y.onnx", "external") == ["y.onnx", "y.onnx.data"]
    assert write(source, tmp_path / "z.onnx", "shards") == [
        "z.onnx",
        "z.onnx-00001-of-00003.data",
        "z.onnx-00002-of-00003.data",
        "z.onnx-00003-of-00003.data",
    ]


def test_offsets_are_aligned_and_rows_say_where(tmp_path: Path) -> None:
    source = save(make_model(), tmp_path / "in.onnx")
    summary = write_model(halved(source), source, tmp_path / "m.onnx", options=LAYOUTS["external"])
    rows = {row.name: row for row in summary.rows}
    assert rows["b"].nbytes >= 1 << 20
    assert rows["b"].offset % 4096 == 0
    data = (tmp_path / "m.onnx.data").read_bytes()
    for name in ("a", "b", "c"):
        row = rows[name]
        assert (row.file, row.offset % 64) == ("m.onnx.data", 0)
        expected = arrays()[name].astype(np.float16).tobytes()
        assert data[row.offset : row.offset + row.nbytes] == expected
        assert row.counts.elements == arrays()[name].size


def test_rows_of_an_embedded_model_say_where(tmp_path: Path) -> None:
    source = save(make_model(), tmp_path / "in.onnx")
    summary = write_model(halved(source), source, tmp_path / "m.onnx", options=ConvertOptions())
    data = (tmp_path / "m.onnx").read_bytes()
    assert {row.name for row in summary.rows} >= {"a", "b", "c", "d", "k", "i"}
    for row in summary.rows:
        if row.name in arrays():
            expected = arrays()[row.name].astype(np.float16).tobytes()
            assert data[row.offset : row.offset + row.nbytes] == expected


def test_small_tensors_and_attributes_stay_in_the_model(tmp_path: Path) -> None:
    source = save(make_model(), tmp_path / "in.onnx")
    write(source, tmp_path / "m.onnx", "external")
    model = onnx.load(tmp_path / "m.onnx", load_external_data=False)
    outside = {t.name for t in model.graph.initializer if t.data_location == TensorProto.EXTERNAL}
    assert outside == {"a", "b", "c", "d", "i"}
    assert model.graph.node[0].attribute[0].t.raw_data


def test_copies_keep_their_field_where_embedded(tmp_path: Path) -> None:
    source = save(make_model(), tmp_path / "in.onnx")
    kept = RewrittenModel(source.proto, unchanged(source).jobs)
    write_model(kept, source, tmp_path / "m.onnx", options=ConvertOptions())
    assert onnx.load(tmp_path / "m.onnx") == onnx.load(tmp_path / "in.onnx")
    write_model(kept, source, tmp_path / "e.onnx", options=LAYOUTS["external"])
    assert weights_of(tmp_path / "e.onnx")["c"].tobytes() == arrays()["c"].tobytes()


def test_unpacked_float_data(tmp_path: Path) -> None:
    weights = arrays()["c"]
    items = b"".join(b"\x25" + item.tobytes() for item in weights)
    tensor = TensorProto(name="c", data_type=1, dims=weights.shape)
    graph = helper.make_graph(
        [helper.make_node("Identity", ["c"], ["c_out"])],
        "g",
        [],
        [helper.make_tensor_value_info("c_out", 1, None)],
    )
    graph_bytes = graph.SerializeToString() + _field(5, tensor.SerializeToString() + items)
    model = helper.make_model(helper.make_graph([], "g", [], []), ir_version=8)
    model.ClearField("graph")
    path = tmp_path / "in.onnx"
    path.write_bytes(model.SerializeToString() + _field(7, graph_bytes))
    source = open_model(path)
    assert source.refs[0].spans[0].item == 4
    write_model(halved(source), source, tmp_path / "m.onnx", options=LAYOUTS["external"])
    got = numpy_helper.to_array(onnx.load(tmp_path / "m.onnx").graph.initializer[0])
    assert got.tobytes() == weights.astype(np.float16).tobytes()


def _field(number: int, content: bytes) -> bytes:
    length, size = bytearray(), len(content)
    while size > 0x7F:
        length.append(size & 0x7F | 0x80)
        size >>= 7
    return bytes([number << 3 | 2, *length, size]) + content


def test_a_job_with_two_users_is_counted_once(tmp_path: Path) -> None:
    source = save(make_model(), tmp_path / "in.onnx")
    rewritten = halved(source)
    twin = TensorProto()
    twin.CopyFrom(next(t for t in rewritten.proto.graph.initializer if t.name == "a"))
    twin.name = "twin"
    rewritten.proto.graph.initializer.append(twin)
    for target, layout in (("m.onnx", "embedded"), ("e.onnx", "external")):
        summary = write_model(rewritten, source, tmp_path / target, options=LAYOUTS[layout])
        weights = {
            t.name: numpy_helper.to_array(t) for t in onnx.load(tmp_path / target).graph.initializer
        }
        assert (weights["twin"] == weights["a"]).all()
        row = summary.rows[payload_index(twin) or 0]
        assert row.counts.elements == arrays()["a"].size


@pytest.mark.parametrize("layout", LAYOUTS)
def test_bytes_do_not_depend_on_threads_or_budget(tmp_path: Path, layout: str) -> None:
    source = save(make_model(), tmp_path / "in.onnx")
    results = []
    for threads, budget in ((1, 1 << 20), (2, 64 << 20), (8, 3 << 20)):
        folder = tmp_path / f"t{threads}"
        folder.mkdir()
        options = ConvertOptions(
            threads=threads,
            budget_bytes=budget,
            external_data=LAYOUTS[layout].external_data,
            shard_size_bytes=LAYOUTS[layout].shard_size_bytes,
        )
        summary = write_model(halved(source), source, folder / "m.onnx", options=options)
        results.append((contents(folder), summary.rows))
    assert results[0] == results[1] == results[2]


_IN_CHILD = """
import sys
from pathlib import Path
from write_support import halved
from halve.options import ConvertOptions
from halve.source import open_model
from halve.write import write_model
source = open_model(sys.argv[1])
summary = write_model(halved(source), source, Path(sys.argv[2]), options=ConvertOptions())
print([row.counts for row in summary.rows])
"""


def test_bytes_and_counts_do_not_depend_on_the_backend(tmp_path: Path) -> None:
    save(make_model(scale=3e4), tmp_path / "in.onnx")
    results = set()
    usable = [backend.name for backend in backends() if backend.usable]
    for name in usable:
        out = tmp_path / f"{name}.onnx"
        environment = {**os.environ, "HALVE_FORCE_BACKEND": name}
        environment["PYTHONPATH"] = str(Path(__file__).parent)
        child = subprocess.run(
            [sys.executable, "-c", _IN_CHILD, str(tmp_path / "in.onnx"), str(out)],
            env=environment,
            capture_output=True,
            check=True,
        )
        results.add((out.read_bytes(), child.stdout))
    assert "scalar" in usable
    assert len(results) == 1


def test_an_unchanged_embedded_model_is_copied(tmp_path: Path) -> None:
    source = save(make_model(), tmp_path / "in.onnx")
    out = tmp_path / "m.onnx"
    summary = write_model(unchanged(source), source, out, options=ConvertOptions())
    assert out.read_bytes() == (tmp_path / "in.onnx").read_bytes()
    row = next(row for row in summary.rows if row.name == "a")
    assert out.read_bytes()[row.offset :][: row.nbytes] == arrays()["a"].tobytes()


def test_an_unchanged_external_model_is_copied_with_its_data(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "out").mkdir()
    source = save(make_model(), tmp_path / "in" / "m.onnx", external=True)
    write_model(unchanged(source), source, tmp_path / "out" / "n.onnx", options=ConvertOptions())
    assert names_in(tmp_path / "out") == ["m.onnx_data", "n.onnx"]
    before, after = contents(tmp_path / "in"), contents(tmp_path / "out")
    assert after == {"n.onnx": before["m.onnx"], "m.onnx_data": before["m.onnx_data"]}


def test_data_in_a_folder_is_copied_to_such_a_folder(tmp_path: Path) -> None:
    (tmp_path / "in" / "weights").mkdir(parents=True)
    (tmp_path / "out").mkdir()
    model = make_model()
    onnx.save(
        model,
        tmp_path / "in" / "m.onnx",
        save_as_external_data=True,
        location="weights/w.bin",
        size_threshold=16,
    )
    source = open_model(tmp_path / "in" / "m.onnx")
    write_model(unchanged(source), source, tmp_path / "out" / "m.onnx", options=ConvertOptions())
    assert contents(tmp_path / "out") == contents(tmp_path / "in")


def test_an_unchanged_external_model_in_its_own_folder_gets_data_of_its_own(
    tmp_path: Path,
) -> None:
    source = save(make_model(), tmp_path / "in.onnx", external=True)
    before = contents(tmp_path)
    write_model(unchanged(source), source, tmp_path / "m.onnx", options=LAYOUTS["external"])
    assert names_in(tmp_path) == ["in.onnx", "in.onnx_data", "m.onnx", "m.onnx.data"]
    assert before.items() <= contents(tmp_path).items()
    assert weights_of(tmp_path / "m.onnx")["b"].tobytes() == arrays()["b"].tobytes()


@pytest.mark.parametrize(
    ("external", "options", "copied"),
    [
        (False, ConvertOptions(external_data="never"), True),
        (False, ConvertOptions(external_data="always"), False),
        (True, ConvertOptions(external_data="never"), False),
        (True, ConvertOptions(shard_size_bytes=1 << 20), False),
    ],
)
def test_another_layout_comes_before_a_copy(
    tmp_path: Path, external: bool, options: ConvertOptions, copied: bool
) -> None:
    (tmp_path / "out").mkdir()
    source = save(make_model(), tmp_path / "in.onnx", external=external)
    out = tmp_path / "out" / "m.onnx"
    write_model(unchanged(source), source, out, options=options)
    assert (out.read_bytes() == (tmp_path / "in.onnx").read_bytes()) == copied
    assert weights_of(out)["a"].tobytes() == arrays()["a"].tobytes()


def test_shards_of_one_file_are_refused(tmp_path: Path) -> None:
    source = save(make_model(), tmp_path / "in.onnx")
    options = ConvertOptions(external_data="never", shard_size_bytes=1000)
    with pytest.raises(OptionError, match="leave out one of the two"):
        write_model(halved(source), source, tmp_path / "m.onnx", options=options)
    assert names_in(tmp_path) == ["in.onnx"]


def sparse_source(folder: Path, elements: int) -> SourceModel:
    """A model with one large weight, all zeros, in a file that takes no room."""
    weight = TensorProto(name="w", data_type=1, dims=[elements], data_location=TensorProto.EXTERNAL)
    weight.external_data.add(key="location", value="w.bin")
    graph = helper.make_graph(
        [helper.make_node("Identity", ["w"], ["w_out"])],
        "g",
        [],
        [helper.make_tensor_value_info("w_out", 1, None)],
        [weight],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    (folder / "in.onnx").write_bytes(model.SerializeToString())
    with (folder / "w.bin").open("wb") as file:
        file.truncate(4 * elements)
    return open_model(folder / "in.onnx")


def test_one_file_over_two_gib_is_refused(tmp_path: Path) -> None:
    source = sparse_source(tmp_path, (1 << 30) + 1)
    options = ConvertOptions(external_data="never")
    with pytest.raises(OptionError, match=r'as one file.*external_data="auto"'):
        write_model(halved(source), source, tmp_path / "m.onnx", options=options)
    assert names_in(tmp_path) == ["in.onnx", "w.bin"]


@pytest.mark.parametrize(("elements", "external"), [((1 << 29) - 300, False), (1 << 29, True)])
def test_auto_keeps_one_file_under_one_gib(tmp_path: Path, elements: int, external: bool) -> None:
    source = sparse_source(tmp_path, elements)
    assert wants_external(halved(source), ConvertOptions()) == external


@pytest.mark.huge
def test_a_tensor_over_four_gib(tmp_path: Path) -> None:
    elements = (1 << 31) + 12_345  # 8 GiB in, over 4 GiB out
    source = sparse_source(tmp_path, elements)
    ends = np.array([1.5, -2.25], np.float32)
    with (tmp_path / "w.bin").open("r+b") as file:
        file.seek(4 * elements - 8)
        file.write(ends.tobytes())
    summary = write_model(halved(source), source, tmp_path / "m.onnx", options=ConvertOptions())
    data = summary.files[1]
    assert data.stat().st_size == 2 * elements
    assert summary.rows[0].counts.elements == elements
    with data.open("rb") as file:
        file.seek(2 * elements - 4)
        assert file.read() == ends.astype(np.float16).tobytes()


def test_in_memory(tmp_path: Path) -> None:
    source = save(make_model(), tmp_path / "in.onnx", external=True)
    rewritten = halved(source)
    before = rewritten.proto.SerializeToString()
    proto, summary = build_model(rewritten, options=ConvertOptions(budget_bytes=1 << 20))
    onnx.save(proto, tmp_path / "m.onnx")
    check_halved(tmp_path / "m.onnx")
    assert rewritten.proto.SerializeToString() == before
    assert summary.files == ()
    assert {row.name: row.counts.elements for row in summary.rows}["b"] == arrays()["b"].size


def test_in_memory_copies_keep_their_field() -> None:
    model = make_model()
    source = open_model(model)
    proto, _ = build_model(unchanged(source), options=ConvertOptions())
    assert proto == model


def test_a_model_in_memory_is_written(tmp_path: Path) -> None:
    source = open_model(make_model())
    write_model(halved(source), source, tmp_path / "m.onnx", options=LAYOUTS["external"])
    check_halved(tmp_path / "m.onnx")


@pytest.mark.parametrize("dtype", [DType.FLOAT16, DType.BFLOAT16])
def test_bounds_and_counts(tmp_path: Path, dtype: DType) -> None:
    weights = np.full(1000, 1e5, np.float32)
    weights[::2] = 1e-9
    graph = helper.make_graph(
        [helper.make_node("Identity", ["w"], ["y"])],
        "g",
        [],
        [helper.make_tensor_value_info("y", 1, None)],
        [numpy_helper.from_array(weights, "w")],
    )
    source = open_model(helper.make_model(graph, ir_version=8))
    job = CastJob("w", source.refs[0], dtype, CastBounds(1e-7, 1e4))
    proto = onnx.ModelProto()
    proto.CopyFrom(source.proto)
    proto.graph.initializer[0].data_type = dtype
    summary = write_model(
        RewrittenModel(proto, (job,)), source, tmp_path / "m.onnx", options=ConvertOptions()
    )
    counts = summary.rows[0].counts
    assert (counts.elements, counts.raised, counts.lowered) == (1000, 500, 500)
