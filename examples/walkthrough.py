"""From a float32 model to a deployed mixed one, step by step, on the digits that ship with halve.

    python examples/walkthrough.py out

Every step is what one would do with a model of one's own, and prints what came of it.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import onnxruntime

import halve

DATA = Path(halve.__file__).parent / "data" / "demo"


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    source, mixed = DATA / "model.onnx", folder / "mixed.onnx"

    # 1. Samples: inputs as the application sees them, one .npz each, keys are input names. A
    #    sample0_outputs.npz beside it holds golden outputs, else the float32 run is the reference.
    samples = halve.read_samples(DATA)
    print(f"1. {len(samples)} samples, inputs {sorted(samples[0].inputs)}")

    # 2. Everything to float16. That runs nothing, and so says nothing about accuracy ...
    keep = halve.ConvertOptions(keep_io_types=True)
    result = halve.convert(source, folder / "float16.onnx", options=keep)
    print(f"2. {result.half_node_count} of {result.node_count} nodes are float16")

    # ... but what its plan makes can be judged: with every float16 value really rounded.
    result.plan.save(folder / "float16.plan.json")
    searching = halve.SearchOptions(convert=keep)
    verdict = halve.verify_plan(source, folder / "float16.plan.json", DATA, options=searching)
    worst = max(output.error for row in verdict.samples for output in row.outputs)
    print(f"3. all float16: {word(verdict.passed)}, {worst:.3g} times the tolerance")

    # 4. The search finds the nodes that have to stay float32, with a reason for each.
    found = halve.auto(source, mixed, DATA, options=searching)
    print(f"4. mixed: {word(found.verdict.passed)} ({found.verdict.level})")
    for row in found.search.evidence:
        print(f"   nodes {row.nodes}: {row.reason}")

    # 5. The plan is what to keep under version control; see production.py.
    found.search.plan.save(folder / "mixed.plan.json")
    print(f"5. the plan: {folder / 'mixed.plan.json'}")

    # 6. Speed, on the provider that the model is meant for. On the CPU provider float16 gains
    #    nothing, and the warnings say why.
    models = [source, mixed]
    measured = halve.bench(models, samples=DATA, options=halve.BenchOptions(rounds=3, round_s=0.05))
    for line in measured.rows:
        print(f"6. {models[line.model].name}: {1e3 * line.p50_s:.2f} ms")
    print(f"   {measured.warnings[0]}")

    # 7. Deployed: any program with ONNX Runtime loads it; halve is not needed for that.
    providers = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    usable = [name for name in providers if name in onnxruntime.get_available_providers()]
    session = onnxruntime.InferenceSession(mixed, providers=usable)
    inputs = {name: np.asarray(array) for name, array in samples[0].inputs.items()}
    (answer,) = session.run(None, inputs)
    print(f"7. the first image is a {int(np.argmax(answer[0]))}")


def word(passed: bool) -> str:
    return "passed" if passed else "FAILED"


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "walkthrough-out"))
