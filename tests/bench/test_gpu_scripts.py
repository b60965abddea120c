"""The GPU benchmarks' own working, where there is no GPU: a fake device, or the CPU provider."""

from __future__ import annotations

import json
import runpy
import sys
from pathlib import Path
from typing import Any

import pytest

from fake_cuda import FakeContext, fake_module
from halve.types import Comparison, TensorStatistics

FOLDER = Path(__file__).parents[2] / "benchmarks"
SHORT = ("--megabytes", "1", "--rounds", "1", "--warm", "0")
# What the scripts import from beside themselves.
BESIDE = ("timing", "provider", "transformer")


def run_script(
    monkeypatch: pytest.MonkeyPatch, folder: Path, name: str, *arguments: str
) -> dict[str, Any]:
    """A script's record."""
    for place in (FOLDER, FOLDER / "gpu"):
        monkeypatch.syspath_prepend(str(place))
    for module in BESIDE:
        monkeypatch.setitem(sys.modules, module, None)
        monkeypatch.delitem(sys.modules, module)
    out = folder / "out.json"
    monkeypatch.setattr(sys, "argv", [name, *arguments, "--json", str(out)])
    runpy.run_path(str(FOLDER / "gpu" / f"{name}.py"), run_name="__main__")
    record: dict[str, Any] = json.loads(out.read_text("utf-8"))
    return record


def test_kernels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "halve._cuda", fake_module())
    monkeypatch.setitem(sys.modules, "cupy", None)  # type: ignore[arg-type]  # not installed
    record = run_script(monkeypatch, tmp_path, "kernels", *SHORT)
    assert record["devices"] == ["Card"]
    rows = record["kernels_1_mb"]
    assert len(rows) == 11
    # The fake clock says 1 ms for a kernel and 2 for a copy.
    assert rows["cast float16"]["to_copy"] == pytest.approx(2)
    assert rows["cast float16"]["traffic_gb_s"] == pytest.approx(1.5 * (1 << 20) / 1e-3 / 1e9)
    assert "cupy" in record["against_cupy"]["not_run"]
    assert record["against_host"]["times_faster"] > 0


def test_kernels_read_ordinary_values_of_their_types(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compared, measured = set(), set()

    class Watching(FakeContext):
        def compare(self, a: int, b: int, *rest: Any) -> list[Any]:
            (row,) = super().compare(a, b, *rest)
            found = Comparison(*row)
            odd = found.a_nan + found.a_inf + found.b_nan + found.b_inf
            compared.add((a, b, odd, 0 < found.max_abs_error < 1))
            return [row]

        def statistics(self, kind: int, *rest: Any) -> list[Any]:
            (row,) = super().statistics(kind, *rest)
            found = TensorStatistics(*row)
            measured.add((kind, found.nan + found.inf, -10 < found.minimum < found.maximum < 10))
            return [row]

    monkeypatch.setitem(sys.modules, "halve._cuda", fake_module(Context=Watching))
    monkeypatch.setitem(sys.modules, "cupy", None)  # type: ignore[arg-type]  # not installed
    run_script(monkeypatch, tmp_path, "kernels", *SHORT)
    pairs = [(0, 0), (1, 0), (2, 0), (1, 1), (3, 3)]
    assert compared == {(*pair, 0, True) for pair in pairs}
    assert measured == {(kind, 0, True) for kind in range(4)}


def test_what_is_missing_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "halve._cuda", None)  # type: ignore[arg-type]  # not built
    assert "was not built" in run_script(monkeypatch, tmp_path, "kernels")["not_run"]
    provider = ("--provider", "NoSuchExecutionProvider")
    for name in ("slots", "agreement"):
        record = run_script(monkeypatch, tmp_path, name, *provider)
        assert "no usable NoSuchExecutionProvider" in record["not_run"]
        assert not record.get("rows")


@pytest.mark.slow
def test_sessions_on_the_cpu_provider(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HALVE_MODELS", raising=False)
    cpu = ("--provider", "CPUExecutionProvider")
    small = ("--slots", "1,2", "--sets", "3", "--trials", "3", "--layers", "1")
    slots = run_script(monkeypatch, tmp_path, "slots", *cpu, *small)
    assert [row["slots"] for row in slots["rows"]] == [1, 2]
    agreement = run_script(monkeypatch, tmp_path, "agreement", *cpu, "--masks", "3")
    assert agreement["rows"]["demo"]["masks"] == 3


def test_one_record_of_all_steps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "slots.end.json").write_text('{"exit": 1, "seconds": 2, "limit": 9}')
    (tmp_path / "results" / "slots.json").write_text('{"rows": [1]}')
    (tmp_path / "results" / "kernels.json").write_text('{"rows": [1')  # its time had ended
    (tmp_path / "slots.log").write_bytes(b"began\n\xffended\n")
    monkeypatch.setattr(sys, "argv", ["collect", str(tmp_path)])
    runpy.run_path(str(FOLDER / "gpu" / "collect.py"), run_name="__main__")
    record = json.loads(capsys.readouterr().out)
    assert record["slots"] == {"rows": [1]}
    assert "kernels.json is cut short" in record["kernels"]["failure"]
    assert record["steps"]["slots"]["exit"] == 1
    assert record["steps"]["slots"]["log"] == ["began", "\ufffdended"]
