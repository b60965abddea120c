"""Networks for tests of exports: PyTorch alone, random weights, seconds to run."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

LOWEST = torch.finfo(torch.float32).min  # -3.4e38, what implementations mask attention with


class Case(NamedTuple):
    """A network, what it is called with, and the names in its model."""

    module: nn.Module
    args: tuple[Tensor, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


class Bottleneck(nn.Module):
    def __init__(self, inside: int, width: int, stride: int) -> None:
        super().__init__()
        outside = 4 * width
        self.one = nn.Conv2d(inside, width, 1, bias=False)
        self.two = nn.Conv2d(width, width, 3, stride, 1, bias=False)
        self.three = nn.Conv2d(width, outside, 1, bias=False)
        self.norms = nn.ModuleList(map(nn.BatchNorm2d, (width, width, outside)))
        self.skip: nn.Module = nn.Identity()
        if stride != 1 or inside != outside:
            skip = nn.Conv2d(inside, outside, 1, stride, bias=False)
            self.skip = nn.Sequential(skip, nn.BatchNorm2d(outside))

    def forward(self, x: Tensor) -> Tensor:
        y = functional.relu(self.norms[0](self.one(x)))
        y = functional.relu(self.norms[1](self.two(y)))
        return functional.relu(self.norms[2](self.three(y)) + self.skip(x))


class ResNet(nn.Module):
    """ResNet-50's layout at half of its width."""

    def __init__(self, width: int = 32, blocks: tuple[int, ...] = (3, 4, 6, 3)) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, width, 7, 2, 3, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.MaxPool2d(3, 2, 1),
        )
        layers: list[nn.Module] = []
        inside = width
        for stage, count in enumerate(blocks):
            for block in range(count):
                stride = 2 if stage and not block else 1
                layers.append(Bottleneck(inside, width << stage, stride))
                inside = 4 * (width << stage)
        self.layers = nn.Sequential(*layers)
        self.head = nn.Linear(inside, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.layers(self.stem(x)).mean((2, 3)))


class FixedKernel(nn.Module):
    """A blur with a float32 kernel written into `forward`, which fails after `.half()`."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        kernel = torch.tensor([[1.0, 2.0, 1.0], [2.0, 4.0, 2.0], [1.0, 2.0, 1.0]])
        blurred = functional.conv2d(x, kernel.reshape(1, 1, 3, 3) / 16, padding=1)
        return functional.relu(self.conv(blurred))


class Autocast(nn.Module):
    """A network whose `forward` computes in mixed precision by itself."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast("cpu", dtype=torch.float16):
            y = self.inner(x)
        return functional.softmax(y.float(), -1)


class Branches(nn.Module):
    """What data decides: torch.cond."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(8, 8)
        self.second = nn.Linear(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        y = torch.cond(x.sum() > 0, self.first, lambda v: torch.tanh(self.second(v)), (x,))
        return y * 2


def attention(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
    """The textbook's formula, as exports of transformers have it."""
    scores = q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])
    if mask is not None:
        scores = scores + mask
    return functional.softmax(scores, -1) @ v


def heads(x: Tensor, count: int) -> Tensor:
    return x.reshape(x.shape[0], x.shape[1], count, -1).transpose(1, 2)


def joined(x: Tensor) -> Tensor:
    return x.transpose(1, 2).reshape(x.shape[0], x.shape[2], -1)


class EncoderLayer(nn.Module):
    def __init__(self, width: int, count: int) -> None:
        super().__init__()
        self.count = count
        self.q, self.k, self.v, self.out = (nn.Linear(width, width) for _ in range(4))
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.before, self.after = nn.LayerNorm(width), nn.LayerNorm(width)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        q, k, v = (heads(part(x), self.count) for part in (self.q, self.k, self.v))
        x = self.before(x + self.out(joined(attention(q, k, v, mask))))
        return self.after(x + self.down(functional.gelu(self.up(x))))


class Bert(nn.Module):
    """Token and position embeddings, a mask of -3.4e38, and a pooler."""

    def __init__(self, width: int = 32, layers: int = 2, vocabulary: int = 100) -> None:
        super().__init__()
        self.tokens = nn.Embedding(vocabulary, width)
        self.places = nn.Embedding(64, width)
        self.norm = nn.LayerNorm(width)
        self.layers = nn.ModuleList(EncoderLayer(width, 4) for _ in range(layers))
        self.pooler = nn.Linear(width, width)

    def forward(self, ids: Tensor, attention_mask: Tensor) -> tuple[Tensor, Tensor]:
        places = torch.arange(ids.shape[1], device=ids.device)
        x = self.norm(self.tokens(ids) + self.places(places))
        mask = (1.0 - attention_mask[:, None, None, :].float()) * LOWEST
        for layer in self.layers:
            x = layer(x, mask)
        return x, torch.tanh(self.pooler(x[:, 0]))


class Vit(nn.Module):
    """Patches by a convolution, a class token, and PyTorch's own attention."""

    def __init__(self, width: int = 32, layers: int = 2) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, width, 8, 8)
        self.token = nn.Parameter(torch.randn(1, 1, width) * 0.1)
        self.places = nn.Parameter(torch.randn(1, 17, width) * 0.1)
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(
                width, 4, 4 * width, 0.0, "gelu", batch_first=True, norm_first=True
            )
            for _ in range(layers)
        )
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(x.shape[0], -1, -1), x], 1) + self.places
        for layer in self.layers:
            x = layer(x)
        return self.head(self.norm(x)[:, 0])


class RmsNorm(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        return self.weight * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6))


class DecoderLayer(nn.Module):
    """Rotary positions, grouped keys and values, a gated feed-forward part, a cache."""

    def __init__(self, width: int, count: int, groups: int) -> None:
        super().__init__()
        self.count, self.groups = count, groups
        small = width // count * groups
        self.q, self.out = nn.Linear(width, width, False), nn.Linear(width, width, False)
        self.k, self.v = nn.Linear(width, small, False), nn.Linear(width, small, False)
        self.gate, self.up = nn.Linear(width, 3 * width, False), nn.Linear(width, 3 * width, False)
        self.down = nn.Linear(3 * width, width, False)
        self.before, self.after = RmsNorm(width), RmsNorm(width)

    def forward(
        self, x: Tensor, angles: tuple[Tensor, Tensor], mask: Tensor, past: tuple[Tensor, Tensor]
    ) -> tuple[Tensor, Tensor, Tensor]:
        y = self.before(x)
        q = rotated(heads(self.q(y), self.count), angles)
        k = torch.cat([past[0], rotated(heads(self.k(y), self.groups), angles)], 2)
        v = torch.cat([past[1], heads(self.v(y), self.groups)], 2)
        times = self.count // self.groups
        spread = (part.repeat_interleave(times, 1) for part in (k, v))
        x = x + self.out(joined(attention(q, *spread, mask)))
        y = self.after(x)
        return x + self.down(functional.silu(self.gate(y)) * self.up(y)), k, v


def rotated(x: Tensor, angles: tuple[Tensor, Tensor]) -> Tensor:
    first, second = x.chunk(2, -1)
    return x * angles[0] + torch.cat([-second, first], -1) * angles[1]


class Llama(nn.Module):
    """A decoder's step with a cache; angles come from positions, which are any size."""

    def __init__(self, width: int = 32, count: int = 4, vocabulary: int = 100) -> None:
        super().__init__()
        self.tokens = nn.Embedding(vocabulary, width)
        self.layer = DecoderLayer(width, count, 2)
        self.norm = RmsNorm(width)
        size = width // count
        inverse = 1.0 / 10000.0 ** (torch.arange(0, size, 2).float() / size)
        self.register_buffer("inverse", inverse, persistent=False)
        self.head = nn.Linear(width, vocabulary, False)

    def forward(
        self, ids: Tensor, positions: Tensor, attention_mask: Tensor, past_k: Tensor, past_v: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        x = self.tokens(ids)
        angle = positions[:, :, None].float() * self.inverse
        angle = torch.cat([angle, angle], -1)[:, None]
        mask = torch.full((ids.shape[1], ids.shape[1]), LOWEST).triu(1)
        mask = functional.pad(mask, (past_k.shape[2], 0))
        mask = mask.masked_fill(attention_mask[:, None, None, :] == 0, LOWEST)
        x, k, v = self.layer(x, (angle.cos(), angle.sin()), mask, (past_k, past_v))
        return self.head(self.norm(x)), k, v


def make_resnet() -> Case:
    return Case(_settled(ResNet()), (torch.randn(1, 3, 64, 64),), ("x",), ("y",))


def make_bert() -> Case:
    ids = torch.randint(0, 100, (2, 12))
    mask = torch.ones(2, 12, dtype=torch.int64)
    mask[1, 8:] = 0
    return Case(Bert(), (ids, mask), ("ids", "attention_mask"), ("hidden", "pooled"))


def make_vit() -> Case:
    return Case(Vit(), (torch.randn(2, 3, 32, 32),), ("x",), ("y",))


def make_llama() -> Case:
    past = torch.randn(2, 1, 2, 5, 8)
    mask = torch.ones(1, 9, dtype=torch.int64)
    mask[0, :2] = 0
    args = (
        torch.randint(0, 100, (1, 4)),
        torch.arange(3001, 3005)[None],
        mask,
        past[0],
        past[1],
    )
    names = ("ids", "positions", "attention_mask", "past_k", "past_v")
    return Case(Llama(), args, names, ("logits", "k", "v"))


TRANSFORMERS: dict[str, Callable[[], Case]] = {
    "bert": make_bert,
    "llama": make_llama,
    "vit": make_vit,
}


def made(maker: Callable[[], Case], seed: int = 0) -> Case:
    """A case from a seed, in eval mode."""
    torch.manual_seed(seed)
    case = maker()
    case.module.eval()
    return case


def _settled(module: nn.Module) -> nn.Module:
    """Statistics of normalisation as training leaves them: neither zero nor one."""
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.running_mean.normal_(0, 0.1)
            part.running_var.uniform_(0.5, 1.5)
    return module


def arrays(case: Case, args: tuple[Tensor, ...] | None = None) -> dict[str, Any]:
    """The arguments as a sample's inputs."""
    given = case.args if args is None else args
    return {name: value.numpy() for name, value in zip(case.inputs, given, strict=True)}


def expected(case: Case, args: tuple[Tensor, ...] | None = None) -> dict[str, Any]:
    """What PyTorch computes in float32, as a sample's golden outputs."""
    with torch.no_grad():
        values = case.module(*(case.args if args is None else args))
    values = values if isinstance(values, tuple) else (values,)
    return {name: value.numpy() for name, value in zip(case.outputs, values, strict=True)}
