#!/usr/bin/env bash
# Everything that needs an NVIDIA GPU, in one go and at most 8 minutes: builds into a folder for the
# device that is here, runs the tests marked gpu and all GPU benchmarks, and leaves one JSON.
# Nothing is installed: nvcc, cmake, python3 with the packages of pyproject.toml (onnxruntime-gpu in
# place of onnxruntime), pybind11 and pytest must be there; cupy and the trained models are optional.
#
#   [PYTHON=python3] [HALVE_MODELS=DIR] benchmarks/gpu/run.sh [FOLDER]    (default: build/gpu)
#
# FOLDER/gpu.json has the results, FOLDER/*.log what each step printed. The exit status is 0 where
# every step did its work.
set -uo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
out=${1:-$root/build/gpu}
python=${PYTHON:-python3}
mkdir -p "$out/results"
out=$(cd "$out" && pwd)
rm -f "$out"/results/*.json "$out/gpu.json"
status=0

# step NAME LIMIT_S COMMAND...: its output goes to NAME.log, its end and time to results/NAME.end.json.
step() {
  local name=$1 limit=$2 began=$SECONDS code=0
  shift 2
  printf '== %s (at %ss, limit %ss)\n' "$name" "$SECONDS" "$limit"
  timeout -k 5 "$limit" "$@" >"$out/$name.log" 2>&1 || code=$?
  printf '{"exit": %s, "seconds": %s, "limit": %s}\n' "$code" "$((SECONDS - began))" "$limit" \
    >"$out/results/$name.end.json"
  [ "$code" = 0 ] || { status=1; tail -n 5 "$out/$name.log"; }
  return "$code"
}

build() {
  cmake -S "$root" -B "$out/build" -DHALVE_CUDA=ON -DHALVE_CUDA_ARCHITECTURES=native \
    -DPython_EXECUTABLE="$(command -v "$python")" \
    -Dpybind11_DIR="$("$python" -m pybind11 --cmakedir)" &&
    cmake --build "$out/build" -j "$(nproc)" &&
    cmake --install "$out/build" --prefix "$out/package" &&
    cp -R "$root/python/halve" "$out/package/"
}

export -f build
export root out python
export PYTHONPATH="$out/package:$root/benchmarks"
if step build 150 bash -c build; then
  cd "$root" || exit 1
  step tests 90 "$python" -m pytest -q -p no:cacheprovider -m 'gpu and not slow' tests
  step kernels 70 "$python" benchmarks/gpu/kernels.py --json "$out/results/kernels.json"
  step slots 80 "$python" benchmarks/gpu/slots.py --json "$out/results/slots.json"
  step agreement 80 "$python" benchmarks/gpu/agreement.py --json "$out/results/agreement.json"
fi
"$python" "$root/benchmarks/gpu/collect.py" "$out/results" >"$out/gpu.json" || status=1
printf '== %ss in all; %s\n' "$SECONDS" "$out/gpu.json"
exit "$status"
