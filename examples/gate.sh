#!/bin/sh
# The gate of a pipeline: the mixed model of a build against the float32 model, on every sample.
#
#     sh examples/gate.sh build/model_mixed.onnx model.onnx samples build/gate.json
#
# Exit status, as `halve compare` has it: 0 every output is within its tolerance, 2 one is not and the
# deployment stops, 1 something is wrong with the files. The record says by how much.
set -eu

if [ "$#" -ne 4 ]; then
  echo "usage: gate.sh MIXED FLOAT32 SAMPLES RECORD.json" >&2
  exit 1
fi

# Of probabilities, an error of a hundredth; one element in a thousand may lie outside.
halve compare "$1" "$2" --sample-dir "$3" --rtol 1e-2 --atol 1e-2 --ntol 1e-3 --output-json "$4"
