"""The packaged kernel tables: what is in them, and that the installed runtime says the same."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import onnx
import onnxruntime as ort
import pytest

from halve.errors import SessionError
from halve.plan import refresh_kernels
from halve.plan.kernels import (
    CPU,
    CUDA,
    ORT_TABLE,
    load_ort_table,
    load_tensorrt_table,
    table_path,
)


def _packaged() -> dict[str, object]:
    result: dict[str, object] = json.loads(table_path(ORT_TABLE).read_text(encoding="utf-8"))
    return result


def test_the_packaged_table_is_what_the_runtime_says() -> None:
    packaged = load_ort_table(CPU)
    if ort.__version__ != packaged.version:
        pytest.skip(f"the table is of {packaged.version}, installed is {ort.__version__}")
    installed = refresh_kernels.read_installed()
    assert refresh_kernels.merge(installed, _packaged()) == _packaged()
    assert installed["providers"][CPU] == _packaged()["providers"][CPU]  # type: ignore[index]


def test_main_writes_the_packaged_bytes_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if ort.__version__ != load_ort_table(CPU).version:
        pytest.skip("another runtime is installed than the table is of")
    out = tmp_path / "table.json"
    assert refresh_kernels.main(["--out", str(out)]) == 0
    assert out.read_bytes() == table_path(ORT_TABLE).read_bytes()
    assert CUDA in capsys.readouterr().out


def test_merge_keeps_a_provider_of_the_same_version_only() -> None:
    installed = {"version": "9.9.9", "providers": {CPU: {}}, "schemas": {}}
    with pytest.raises(SessionError, match=r"9\.9\.9 is installed without CUDAExecutionProvider"):
        refresh_kernels.merge(installed, _packaged())


def test_merge_leaves_out_what_no_provider_computes() -> None:
    installed = {
        "version": "9.9.9",
        "providers": {CPU: {"ai.onnx::Add": []}, CUDA: {}},
        "schemas": {"ai.onnx::Add": [7], "ai.onnx::And": [7]},
    }
    table = refresh_kernels.merge(installed, _packaged())
    assert table["schemas"] == {"ai.onnx::Add": [7]}
    assert json.loads(refresh_kernels.render(table)) == table


def test_a_child_that_dies_is_a_clear_error(tmp_path: Path) -> None:
    python = tmp_path / "python"
    python.write_text(f"#!{sys.executable}\nimport os\nos.abort()\n", encoding="utf-8")
    python.chmod(0o755)
    with pytest.raises(SessionError, match="ended with status -6"):
        refresh_kernels.read_installed(str(python))


@pytest.mark.parametrize("provider", [CPU, CUDA])
def test_ranges_are_in_order_and_hold_float_types(provider: str) -> None:
    table = load_ort_table(provider)
    assert len(table.rows) > 200
    for op, rows in table.rows.items():
        assert table.schemas[op], op
        for since, until, variables in rows:
            assert until is None or since <= until
            assert variables
            assert all(
                {"f16", "bf16", "f32", "f64"}.issuperset(types) for types in variables.values()
            )


def test_a_kernel_is_found_by_the_schema_that_the_opset_has() -> None:
    table = load_ort_table(CUDA)
    assert table.types("", "Clip", 11) == {"T": {"f32"}}
    assert table.types("", "Clip", 12) == {"T": {"f16", "f32", "f64"}}
    assert table.types("", "Clip", 5) is None
    assert table.types("", "Elu", 21) is not None
    assert table.types("", "Elu", 22) is None


def test_the_tensorrt_table_names_operators_once_and_its_source() -> None:
    data = load_tensorrt_table()
    groups = ("both", "inferred_both", "float16_only", "float32_only", "unsupported")
    names = [name for group in groups for name in data[group]]
    assert len(names) == len(set(names))
    assert data["version"] in data["source"]
    legacy = {"ImageScaler", "ParametricSoftplus", "ScaledTanh"}
    known = {schema.name for schema in onnx.defs.get_all_schemas_with_history()}
    assert set(names) - known <= legacy
