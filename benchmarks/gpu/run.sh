#!/usr/bin/env bash
# Everything that needs an NVIDIA GPU, in one go and at most 8 minutes: builds into a folder for the
# device that is here, runs the tests marked gpu and all GPU benchmarks, and leaves one JSON.
# Nothing is installed: nvcc, cmake, python3 with the packages of pyproject.toml, pybind11 and pytest
# must be there. onnxruntime-gpu, cupy, torch, compute-sanitizer and the trained models are optional:
# what needs one that is missing is left out, and the JSON says why.
#
#   [PYTHON=python3] [HALVE_MODELS=DIR] [ARCHITECTURES=native] [PROVIDER=CUDAExecutionProvider] \
#     [BUILD_S=180] benchmarks/gpu/run.sh [FOLDER]    (default: build/gpu)
#
# FOLDER/gpu.json has the results, FOLDER/*.log what each step printed. The exit status is 0 where
# every step did its work. A machine without a GPU tries the scripts: ARCHITECTURES=90
# PROVIDER=CPUExecutionProvider.
set -uo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
out=${1:-$root/build/gpu}
python=${PYTHON:-python3}
architectures=${ARCHITECTURES:-native}
provider=${PROVIDER:-CUDAExecutionProvider}
mkdir -p "$out/results" || exit 1
out=$(cd "$out" && pwd)
rm -rf "$out"/results/*.json "$out"/*.log "$out/gpu.json" "$out/package"
status=0

# step NAME LIMIT_S COMMAND...: its output goes to NAME.log, its end and time to results/NAME.end.json.
step() {
  local name=$1 limit=$2 began=$SECONDS code=0
  shift 2
  printf '== %s (at %ss, limit %ss)\n' "$name" "$SECONDS" "$limit"
  timeout -k 5 "$limit" "$@" >"$out/$name.log" 2>&1 || code=$?
  printf '{"exit": %s, "seconds": %s, "limit": %s}\n' "$code" "$((SECONDS - began))" "$limit" \
    >"$out/results/$name.end.json"
  tail -n 3 "$out/$name.log"
  [ "$code" = 0 ] || status=1
  return "$code"
}

build() {
  local generator=()
  if command -v ninja >/dev/null; then generator=(-G Ninja); fi
  cmake -S "$root" -B "$out/build" "${generator[@]}" -DHALVE_CUDA=ON \
    -DHALVE_CUDA_ARCHITECTURES="$architectures" -DPython_EXECUTABLE="$(command -v "$python")" \
    -Dpybind11_DIR="$("$python" -m pybind11 --cmakedir)" &&
    cmake --build "$out/build" -j "$(nproc)" &&
    cmake --install "$out/build" --prefix "$out/package" &&
    cp -R "$root/python/halve" "$out/package/"
}

# The files with tests marked gpu alone: others need packages that are not asked for here. Warnings
# of other versions of them are none of a kernel's failures.
tests() {
  grep -rlE --include='test_*.py' 'mark\.gpu\b' tests |
    xargs "$python" -m pytest -q -W default -p no:cacheprovider -m 'gpu and not slow' "$@"
}

# Reads outside arrays and races between threads, on a few sizes; a machine may not let it look.
sanitize() {
  local tool
  if ! command -v compute-sanitizer >/dev/null; then
    echo 'not run: there is no compute-sanitizer'
    return
  fi
  for tool in memcheck racecheck; do
    compute-sanitizer --tool "$tool" --error-exitcode 9 "$python" -m pytest -q -W default \
      -p no:cacheprovider -m gpu tests/native/test_cuda_kernels.py -k 'sanitizer' ||
      [ $? != 9 ] || return 9
  done
}

export -f build tests sanitize
export root out python architectures
export PYTHONFAULTHANDLER=1
export PYTHONPATH="$out/package:$root/benchmarks${PYTHONPATH:+:$PYTHONPATH}"
if step build "${BUILD_S:-180}" bash -c build; then
  cd "$root" || exit 1
  step tests 90 bash -c tests
  step kernels 60 "$python" benchmarks/gpu/kernels.py --json "$out/results/kernels.json"
  step slots 60 "$python" benchmarks/gpu/slots.py --provider "$provider" \
    --json "$out/results/slots.json"
  step sanitizer 60 bash -c sanitize
  left=$((SECONDS < 295 ? 180 : SECONDS < 445 ? 475 - SECONDS : 30))
  step agreement "$left" "$python" benchmarks/gpu/agreement.py --provider "$provider" \
    --seconds "$((left - 15))" --json "$out/results/agreement.json"
fi
"$python" "$root/benchmarks/gpu/collect.py" "$out" >"$out/gpu.json" || status=1
printf '== %ss in all; %s\n' "$SECONDS" "$out/gpu.json"
exit "$status"
