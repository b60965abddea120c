"""External data: where it may lie, and what its ranges may be."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

from halve.errors import DataError
from halve.source import open_model, payload_index, read_array
from halve.types import DType, SourceModel

VALUES = np.arange(100, dtype="<f4")


def external(
    name: str = "w", count: int = 10, dtype: int = DType.FLOAT, **place: str
) -> TensorProto:
    tensor = TensorProto(name=name, data_type=dtype, dims=[count])
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in ({"location": "w.bin"} | place).items():
        tensor.external_data.add(key=key, value=value)
    return tensor


def save(folder: Path, *tensors: TensorProto, data: bytes = VALUES.tobytes()) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", [], [], tensors)
    (folder / "w.bin").write_bytes(data)
    path = folder / "model.onnx"
    path.write_bytes(helper.make_model(graph, ir_version=8).SerializeToString())
    return path


def opened(folder: Path, *tensors: TensorProto) -> SourceModel:
    return open_model(save(folder, *tensors))


def test_external_data_becomes_a_reference(tmp_path: Path) -> None:
    small = external("small", 2, offset="8", length="8")
    rest = external("rest", 10, offset="40", checksum="0", other="ignored")
    result = opened(tmp_path, small, rest)
    assert [read_array(ref).tolist() for ref in result.refs] == [[2, 3], list(range(10, 20))]
    assert [ref.field for ref in result.refs] == [0, 0]
    assert result.data_files == ((tmp_path / "w.bin").resolve(),)
    left = result.proto.graph.initializer[0]
    assert left.data_location == TensorProto.DEFAULT
    assert (len(left.external_data), payload_index(left)) == (1, 0)
    assert result.nbytes == 400 + (tmp_path / "model.onnx").stat().st_size


def test_embedded_and_external_tensors_share_one_table(tmp_path: Path) -> None:
    embedded = TensorProto(name="e", data_type=1, dims=[300], raw_data=bytes(1200))
    result = opened(tmp_path, external(), embedded)
    assert [ref.field for ref in result.refs] == [0, 9]
    assert [payload_index(t) for t in result.proto.graph.initializer] == [0, 1]


@pytest.mark.parametrize("one_file", [False, True])
def test_what_onnx_saves_is_read_back(tmp_path: Path, one_file: bool) -> None:
    arrays = [np.arange(count, dtype=np.float32) for count in (3, 400, 5000)]
    tensors = [numpy_helper.from_array(array, f"w{i}") for i, array in enumerate(arrays)]
    graph = helper.make_graph([], "g", [], [], tensors)
    path = tmp_path / "model.onnx"
    onnx.save_model(
        helper.make_model(graph),
        path,
        save_as_external_data=True,
        all_tensors_to_one_file=one_file,
        location="data.bin" if one_file else None,
        size_threshold=0,
    )
    result = open_model(path)
    assert len(result.data_files) == (1 if one_file else 3)
    for ref, array in zip(result.refs, arrays, strict=True):
        assert np.array_equal(read_array(ref), array)


def test_equal_ranges_share_their_payload(tmp_path: Path) -> None:
    result = opened(tmp_path, external("a"), external("b"), external("c", offset="40"))
    assert [ref.spans for ref in result.refs][:2] == [result.refs[0].spans] * 2


def test_empty_and_4_bit_and_unknown_types(tmp_path: Path) -> None:
    result = opened(
        tmp_path,
        external("empty", 0, length="0"),
        external("nibbles", 3, TensorProto.UINT4, length="2"),
        external("newer", 5, 98, offset="100", length="7"),
        external("rest", 5, 98, offset="390"),
    )
    assert [ref.nbytes for ref in result.refs] == [0, 2, 7, 10]
    assert read_array(result.refs[0]).shape == (0,)
    assert [float(x) for x in read_array(result.refs[1])] == [0, 0, 0]


def test_a_tensor_beyond_four_gibibytes(tmp_path: Path) -> None:
    count = (5 << 30) // 4
    path = save(tmp_path, external("w", count, offset="4096", length=str(5 << 30)))
    os.truncate(tmp_path / "w.bin", 4096 + (5 << 30))
    (ref,) = open_model(path).refs
    assert ref.nbytes == 5 << 30
    assert ref.spans[0].offset == 4096


def test_folders_below_the_model_are_its_own(tmp_path: Path) -> None:
    path = save(tmp_path, external(location="parts/./w.bin"))
    (tmp_path / "parts").mkdir()
    (tmp_path / "w.bin").rename(tmp_path / "parts" / "w.bin")
    assert open_model(path).data_files == ((tmp_path / "parts" / "w.bin").resolve(),)


def test_a_location_that_is_not_utf8(tmp_path: Path) -> None:
    path = save(tmp_path, external(location="AAAA"))
    (tmp_path / "w.bin").rename(os.fsdecode(os.fsencode(tmp_path) + b"/\xff\xfeAA"))
    path.write_bytes(path.read_bytes().replace(b"AAAA", b"\xff\xfeAA"))
    assert read_array(open_model(path).refs[0]).tolist() == list(range(10))


@pytest.mark.parametrize(
    ("location", "words"),
    [
        ("", "location '' is empty"),
        ("/etc/passwd", "is an absolute path"),
        ("C:\\w.bin", "is an absolute path"),
        ("../w.bin", "leaves the model's folder with '..'"),
        ("parts/../../w.bin", "leaves the model's folder"),
        ("parts\\..\\w.bin", "leaves the model's folder"),
        ("a\0b", "has a NUL character"),
        ("absent.bin", "cannot be opened: No such file or directory; put the data file beside"),
        ("x" * 300, "cannot be opened: File name too long"),
        ("model.onnx/w.bin", "cannot be opened: Not a directory"),
        (".", "is a directory; allowed: a regular file"),
    ],
)
@pytest.mark.parametrize("allow_links", [False, True])
def test_locations_that_are_not_allowed(
    tmp_path: Path, location: str, words: str, allow_links: bool
) -> None:
    path = save(tmp_path, external("weights", location=location))
    with pytest.raises(DataError, match=words) as caught:
        open_model(path, allow_links=allow_links)
    assert "graph, initializer 'weights'" in str(caught.value)


def test_a_missing_location_is_named(tmp_path: Path) -> None:
    tensor = external()
    del tensor.external_data[:]
    with pytest.raises(DataError, match="location '' is empty"):
        opened(tmp_path, tensor)


def test_a_device_or_a_pipe_is_no_data_file(tmp_path: Path) -> None:
    path = save(tmp_path, external())
    for make in (lambda p: p.symlink_to("/dev/zero"), os.mkfifo):
        (tmp_path / "w.bin").unlink()
        make(tmp_path / "w.bin")
        with pytest.raises(DataError, match="is not a regular file"):
            open_model(path, allow_links=True)


@pytest.mark.parametrize(
    ("place", "words"),
    [
        ({"offset": "-4"}, "offset is '-4'; allowed: a number of bytes"),
        ({"offset": "0x4"}, "offset is '0x4'"),
        ({"offset": "4.0"}, "offset is '4.0'"),
        ({"offset": ""}, "offset is ''"),
        ({"offset": "٣"}, "offset is"),
        ({"offset": "9" * 30}, "offset is"),
        ({"length": "ten"}, "length is 'ten'"),
        ({"length": "36"}, r"byte 0: length 36; shape \[10\] of type 1 needs 40 bytes"),
        ({"length": "44"}, "length 44"),
        ({"offset": "364"}, "byte 364: needs bytes up to 404; the file has 400"),
        ({"offset": "9000"}, "byte 9000: needs bytes up to 9040; the file has 400"),
        ({"offset": str(2**62)}, "the file has 400; it may be truncated"),
    ],
)
def test_ranges_that_are_not_allowed(tmp_path: Path, place: dict[str, str], words: str) -> None:
    with pytest.raises(DataError, match=words) as caught:
        opened(tmp_path, external("weights", **place))
    assert str(tmp_path / "w.bin") in str(caught.value)
    assert "'weights'" in str(caught.value)


def test_a_file_cut_short(tmp_path: Path) -> None:
    path = save(tmp_path, external(count=100))
    os.truncate(tmp_path / "w.bin", 399)
    with pytest.raises(DataError, match="needs bytes up to 400; the file has 399; it may be trunc"):
        open_model(path)


@pytest.mark.parametrize(("offset", "count"), [("36", 10), ("4", 2), ("0", 9), ("0", 11)])
def test_ranges_that_overlap_in_part(tmp_path: Path, offset: str, count: int) -> None:
    tensors = external("one"), external("two", count, offset=offset)
    with pytest.raises(DataError, match=r"(one|two).* overlap those of .*(one|two)"):
        opened(tmp_path, *tensors)


def test_an_overlap_through_another_name_of_the_file(tmp_path: Path) -> None:
    path = save(tmp_path, external("one"), external("two", offset="8", location="v.bin"))
    (tmp_path / "v.bin").symlink_to("w.bin")
    with pytest.raises(DataError, match="overlap"):
        open_model(path)


def test_strings_cannot_be_external(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="a string tensor cannot have external data"):
        opened(tmp_path, external(dtype=DType.STRING))


def test_a_negative_dimension(tmp_path: Path) -> None:
    tensor = external()
    tensor.dims[0] = -1
    with pytest.raises(ValueError, match="negative dimension"):
        opened(tmp_path, tensor)


def test_a_link_inside_the_folder_is_fine(tmp_path: Path) -> None:
    path = save(tmp_path, external())
    (tmp_path / "w.bin").rename(tmp_path / "real.bin")
    (tmp_path / "w.bin").symlink_to("real.bin")
    assert open_model(path).data_files == ((tmp_path / "real.bin").resolve(),)


@pytest.mark.parametrize("folder_link", [False, True])
def test_a_link_out_of_the_folder_needs_leave(tmp_path: Path, folder_link: bool) -> None:
    home = tmp_path / "home"
    path = save(home, external(location="sub/w.bin" if folder_link else "w.bin"))
    (home / "w.bin").rename(tmp_path / "w.bin")
    if folder_link:
        (home / "sub").symlink_to(tmp_path)
    else:
        (home / "w.bin").symlink_to(tmp_path / "w.bin")
    with pytest.raises(DataError, match=r"is a link to .*outside .*--allow-links"):
        open_model(path)
    result = open_model(path, allow_links=True)
    assert read_array(result.refs[0]).tolist() == list(range(10))


def hub_cache(folder: Path) -> Path:
    """A model as hubs keep it: links with names in one folder, files named by hash in another."""
    save(folder / "blobs", external())
    snapshot = folder / "snapshots" / "main" / "onnx"
    snapshot.mkdir(parents=True)
    for name, blob in (("model.onnx", "aaa"), ("w.bin", "bbb")):
        (folder / "blobs" / name).rename(folder / "blobs" / blob)
        (snapshot / name).symlink_to(Path("../../../blobs") / blob)
    return snapshot / "model.onnx"


def test_a_hub_cache_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = hub_cache(tmp_path)
    result = open_model(path)
    assert result.path == (tmp_path / "blobs" / "aaa").resolve()
    assert result.data_files == ((tmp_path / "blobs" / "bbb").resolve(),)
    monkeypatch.chdir(path.parent)
    assert open_model("model.onnx").digest == result.digest


def test_a_link_to_a_model_finds_the_data_beside_the_model(tmp_path: Path) -> None:
    path = save(tmp_path / "real", external())
    link = tmp_path / "link.onnx"
    link.symlink_to(path)
    assert open_model(link).data_files == ((tmp_path / "real" / "w.bin").resolve(),)


def test_a_folder_that_is_a_link_is_the_folder(tmp_path: Path) -> None:
    save(tmp_path / "real", external())
    (tmp_path / "alias").symlink_to(tmp_path / "real")
    assert open_model(tmp_path / "alias" / "model.onnx").refs


def test_links_that_lead_nowhere(tmp_path: Path) -> None:
    path = save(tmp_path, external())
    (tmp_path / "w.bin").unlink()
    (tmp_path / "w.bin").symlink_to("w.bin")
    with pytest.raises(DataError, match="cannot be opened"):
        open_model(path)
    (tmp_path / "w.bin").unlink()
    (tmp_path / "w.bin").symlink_to("gone.bin")
    with pytest.raises(DataError, match="cannot be opened: No such file"):
        open_model(path)


def test_the_digest_counts_where_data_lies_but_not_the_folder(tmp_path: Path) -> None:
    first = opened(tmp_path / "a", external()).digest
    assert opened(tmp_path / "b", external()).digest == first
    assert opened(tmp_path / "b", external(offset="4")).digest != first
    path = save(tmp_path / "c", external(location="v.bin"))
    (tmp_path / "c" / "w.bin").rename(tmp_path / "c" / "v.bin")
    assert open_model(path).digest != first


def test_nothing_is_written_by_opening(tmp_path: Path) -> None:
    path = save(tmp_path, external())
    before = {p: p.read_bytes() for p in tmp_path.iterdir()}
    open_model(path)
    assert {p: p.read_bytes() for p in tmp_path.iterdir()} == before
    assert isinstance(ModelProto.FromString(before[path]), ModelProto)
