"""Trains the model of `halve demo` on scikit-learn's handwritten digits and writes its files.

The network is written in numpy with its gradients, so that nothing but numpy, onnx and
scikit-learn is needed:

    pip install halve scikit-learn
    python examples/train_demo.py python/halve/data/demo

It standardises the image, which comes in the counts of a 12-bit sensor, and normalises a layer
between its convolutions and its dense layers. Both are spelled out in simple operators as
exporters do: the squares of counts leave float16's range, so that not all of it can be float16.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from sklearn.datasets import load_digits

Array = NDArray[np.float32]
Weights = dict[str, Array]

SEED = 20
EPOCHS = 40
BATCH = 64
LEARNING_RATE = 2e-3
HELD_OUT = 360
SAMPLES = 3
EPSILON = np.float32(1e-5)
# The digits have 17 levels, a 12-bit sensor 4096.
COUNTS_A_LEVEL = np.float32(255)


def initial_weights(rng: np.random.Generator) -> Weights:
    """He-initialised weights."""

    def he(*shape: int) -> Array:
        fan_in = int(np.prod(shape[1:]))
        return (rng.standard_normal(shape) * np.sqrt(2 / fan_in)).astype(np.float32)

    def zeros(size: int) -> Array:
        return np.zeros(size, np.float32)

    return {
        "conv1.weight": he(16, 1, 3, 3),
        "conv1.bias": zeros(16),
        "conv2.weight": he(32, 16, 3, 3),
        "conv2.bias": zeros(32),
        "norm.weight": np.ones(512, np.float32),
        "norm.bias": zeros(512),
        "dense1.weight": he(64, 512),
        "dense1.bias": zeros(64),
        "dense2.weight": he(10, 64),
        "dense2.bias": zeros(10),
    }


def standardise(x: Array, axes: int | tuple[int, ...]) -> tuple[Array, Array]:
    """(x - mean) / sqrt(variance + epsilon) over `axes`, and the divisor."""
    centred = x - x.mean(axis=axes, keepdims=True)
    deviation = np.sqrt((centred * centred).mean(axis=axes, keepdims=True) + EPSILON)
    return centred / deviation, deviation


@dataclass
class Conv:
    """A 3x3 convolution with padding 1; keeps what its gradient needs."""

    name: str
    stride: int

    def forward(self, w: Weights, x: Array) -> Array:
        self.shape = x.shape
        padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
        windows = sliding_window_view(padded, (3, 3), axis=(2, 3))
        self.windows = windows[:, :, :: self.stride, :: self.stride]
        out = np.einsum("nchwij,ocij->nohw", self.windows, w[f"{self.name}.weight"], optimize=True)
        return out + w[f"{self.name}.bias"][:, None, None]

    def backward(self, w: Weights, grad: Array, grads: Weights) -> Array:
        weight = f"{self.name}.weight"
        grads[f"{self.name}.bias"] = grad.sum(axis=(0, 2, 3))
        grads[weight] = np.einsum("nohw,nchwij->ocij", grad, self.windows, optimize=True)
        n, c, height, width = self.shape
        padded = np.zeros((n, c, height + 2, width + 2), np.float32)
        for i in range(3):
            for j in range(3):
                rows = slice(i, i + height, self.stride)
                columns = slice(j, j + width, self.stride)
                part = np.einsum("nohw,oc->nchw", grad, w[weight][:, :, i, j], optimize=True)
                padded[:, :, rows, columns] += part
        return padded[:, :, 1:-1, 1:-1]


class Network:
    """Two convolutions, a layer normalisation, two dense layers."""

    def __init__(self) -> None:
        self.conv1 = Conv("conv1", 1)
        self.conv2 = Conv("conv2", 2)

    def forward(self, w: Weights, image: Array) -> Array:
        """The probability of each digit, (n, 10), for images (n, 1, 8, 8) of 0 to 4080."""
        x, _ = standardise(image, (1, 2, 3))
        self.map1 = np.maximum(self.conv1.forward(w, x), 0)
        self.map2 = np.maximum(self.conv2.forward(w, self.map1), 0)
        self.normal, self.deviation = standardise(self.map2.reshape(len(image), -1), 1)
        self.scaled = self.normal * w["norm.weight"] + w["norm.bias"]
        self.hidden = np.maximum(self.scaled @ w["dense1.weight"].T + w["dense1.bias"], 0)
        logits = self.hidden @ w["dense2.weight"].T + w["dense2.bias"]
        powers = np.exp(logits - logits.max(axis=1, keepdims=True))
        return powers / powers.sum(axis=1, keepdims=True)

    def backward(self, w: Weights, probability: Array, label: NDArray[np.int64]) -> Weights:
        """Gradients of the mean cross-entropy of the last forward pass."""
        grads: Weights = {}
        logits = (probability - np.eye(10, dtype=np.float32)[label]) / np.float32(len(label))
        hidden = self._dense(w, "dense2", self.hidden, logits, grads) * (self.hidden > 0)
        scaled = self._dense(w, "dense1", self.scaled, hidden, grads)
        grads["norm.weight"] = (scaled * self.normal).sum(axis=0)
        grads["norm.bias"] = scaled.sum(axis=0)
        flat = self._norm(scaled * w["norm.weight"])
        map2 = flat.reshape(self.map2.shape) * (self.map2 > 0)
        map1 = self.conv2.backward(w, map2, grads) * (self.map1 > 0)
        self.conv1.backward(w, map1, grads)
        return grads

    def _norm(self, grad: Array) -> Array:
        mean = grad.mean(axis=1, keepdims=True)
        along = (grad * self.normal).mean(axis=1, keepdims=True)
        return (grad - mean - self.normal * along) / self.deviation

    @staticmethod
    def _dense(w: Weights, name: str, x: Array, grad: Array, grads: Weights) -> Array:
        grads[f"{name}.weight"] = grad.T @ x
        grads[f"{name}.bias"] = grad.sum(axis=0)
        return grad @ w[f"{name}.weight"]


class Adam:
    """Adam (Kingma and Ba, 2015) with its usual constants."""

    def __init__(self, w: Weights) -> None:
        self.mean = {name: np.zeros_like(value) for name, value in w.items()}
        self.square = {name: np.zeros_like(value) for name, value in w.items()}
        self.step = 0

    def update(self, w: Weights, grads: Weights, rate: float) -> None:
        self.step += 1
        rate *= np.sqrt(1 - 0.999**self.step) / (1 - 0.9**self.step)
        for name, grad in grads.items():
            self.mean[name] = 0.9 * self.mean[name] + 0.1 * grad
            self.square[name] = 0.999 * self.square[name] + 0.001 * grad * grad
            step = rate * self.mean[name] / (np.sqrt(self.square[name]) + 1e-8)
            w[name] = (w[name] - step).astype(np.float32)


def train(image: Array, label: NDArray[np.int64]) -> Weights:
    """Weights after EPOCHS passes over the images, the rate falling as a cosine."""
    rng = np.random.default_rng(SEED)
    w, network = initial_weights(rng), Network()
    adam = Adam(w)
    for epoch in range(EPOCHS):
        rate = LEARNING_RATE * (1 + np.cos(np.pi * epoch / EPOCHS)) / 2
        order = rng.permutation(len(image))
        for start in range(0, len(order), BATCH):
            batch = order[start : start + BATCH]
            probability = network.forward(w, image[batch])
            adam.update(w, network.backward(w, probability, label[batch]), rate)
    return w


def normalise_nodes(
    prefix: str, x: str, out: str, axes: tuple[int, ...], epsilon: str
) -> list[onnx.NodeProto]:
    """`standardise` in simple operators."""
    names = [
        f"{prefix}/{part}" for part in ("mean", "centred", "square", "variance", "sum", "root")
    ]
    mean, centred, square, variance, total, root = names
    rows = (
        ("ReduceMean", [x], mean, {"axes": axes}),
        ("Sub", [x, mean], centred, {}),
        ("Mul", [centred, centred], square, {}),
        ("ReduceMean", [square], variance, {"axes": axes}),
        ("Add", [variance, epsilon], total, {}),
        ("Sqrt", [total], root, {}),
        ("Div", [centred, root], out, {}),
    )
    return [
        helper.make_node(op, inputs, [output], f"{prefix}/{op}_{index}", **attributes)
        for index, (op, inputs, output, attributes) in enumerate(rows)
    ]


def export_nodes() -> list[onnx.NodeProto]:
    """The network's nodes, weights by their names."""
    conv = {"kernel_shape": (3, 3), "pads": (1, 1, 1, 1)}

    def node(op: str, inputs: list[str], output: str, **attributes: object) -> onnx.NodeProto:
        return helper.make_node(op, inputs, [output], f"/{output}/{op}", **attributes)

    def weighted(x: str, name: str) -> list[str]:
        return [x, f"{name}.weight", f"{name}.bias"]

    return [
        *normalise_nodes("/input", "image", "standard", (1, 2, 3), "epsilon"),
        node("Conv", weighted("standard", "conv1"), "conv1", strides=(1, 1), **conv),
        node("Relu", ["conv1"], "map1"),
        node("Conv", weighted("map1", "conv2"), "conv2", strides=(2, 2), **conv),
        node("Relu", ["conv2"], "map2"),
        node("Flatten", ["map2"], "flat", axis=1),
        *normalise_nodes("/norm", "flat", "normal", (1,), "epsilon"),
        node("Mul", ["normal", "norm.weight"], "scaled"),
        node("Add", ["scaled", "norm.bias"], "shifted"),
        node("Gemm", weighted("shifted", "dense1"), "dense1", transB=1),
        node("Relu", ["dense1"], "hidden"),
        node("Gemm", weighted("hidden", "dense2"), "logits", transB=1),
        node("Softmax", ["logits"], "probability", axis=1),
    ]


def export(w: Weights) -> onnx.ModelProto:
    """The network as ONNX, opset 17 and IR 8, which every supported ONNX Runtime loads."""
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 1, 8, 8])
    output = helper.make_tensor_value_info("probability", TensorProto.FLOAT, ["batch", 10])
    tensors = {**w, "epsilon": np.asarray(EPSILON)}
    weights = [numpy_helper.from_array(value, name) for name, value in tensors.items()]
    graph = helper.make_graph(export_nodes(), "digits", [image], [output], weights)
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 17)], producer_name="train_demo", ir_version=8
    )
    onnx.checker.check_model(model, full_check=True)
    return model


def write(folder: Path, model: onnx.ModelProto, image: Array, label: NDArray[np.int64]) -> float:
    """Writes the model, its samples with outputs, and the labels; returns the accuracy."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    evaluator, right = ReferenceEvaluator(model), 0
    labels = np.array_split(label, SAMPLES)
    for index, part in enumerate(np.array_split(image, SAMPLES)):
        (probability,) = evaluator.run(None, {"image": part})
        right += int((probability.argmax(axis=1) == labels[index]).sum())
        np.savez_compressed(folder / f"sample{index}_inputs.npz", image=part)
        np.savez_compressed(folder / f"sample{index}_outputs.npz", probability=probability)
    np.savez_compressed(
        folder / "labels.npz", **{f"sample{index}": part for index, part in enumerate(labels)}
    )
    return right / len(label)


def main() -> None:
    """Trains, exports and writes to the folder given as the only argument."""
    digits = load_digits()
    order = np.random.default_rng(SEED).permutation(len(digits.target))
    image = digits.images[order, None].astype(np.float32) * COUNTS_A_LEVEL
    label = digits.target[order].astype(np.int64)
    weights = train(image[HELD_OUT:], label[HELD_OUT:])
    model = export(weights)
    accuracy = write(Path(sys.argv[1]), model, image[:HELD_OUT], label[:HELD_OUT])
    print(f"accuracy on {HELD_OUT} held-out images: {accuracy:.2%}")


if __name__ == "__main__":
    main()
