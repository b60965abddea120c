"""`--feedback OUT:IN`, where either name may hold colons itself, as in exports of TensorFlow."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

from halve.errors import OptionError

__all__ = ["feedback_pairs", "split_feedback"]


def split_feedback(texts: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """(output, input) pairs, each divided at its last colon.

    Raises:
        OptionError: a text has no colon with a name on either side.
    """
    return tuple(_splits(text)[-1] for text in texts)


def feedback_pairs(texts: Sequence[str], source: Path) -> tuple[tuple[str, str], ...]:
    """(output, input) pairs, each divided where both sides are names of the model at `source`.

    The model is read only where a text can be divided in several ways.

    Raises:
        OptionError: a text has no colon with a name on either side, or none or more than one way to
            divide it names an output and an input.
        ModelError: the model cannot be read.
    """
    if all(len(_splits(text)) == 1 for text in texts):
        return split_feedback(texts)
    # Here, because it brings onnx, which few texts need.
    from halve.source import open_model, text

    graph = open_model(source, allow_links=True).proto.graph  # names alone are read
    outputs = [text(port.name) for port in graph.output]
    inputs = [text(port.name) for port in graph.input]
    return tuple(_named(given, outputs, inputs) for given in texts)


def _named(given: str, outputs: Collection[str], inputs: Collection[str]) -> tuple[str, str]:
    splits = _splits(given)
    if len(splits) == 1:
        return splits[0]
    found = [pair for pair in splits if pair[0] in outputs and pair[1] in inputs]
    if len(found) == 1:
        return found[0]
    names = f"outputs {sorted(outputs)}, inputs {sorted(inputs)}"
    if not found:
        raise OptionError(
            f"--feedback is {given!r}, which names no output and input of the model at any of its"
            f" colons; allowed: OUTPUT:INPUT with {names}"
        )
    raise OptionError(
        f"--feedback is {given!r}, which can be read as {' or '.join(map(repr, found))}; rename an"
        " input or output, or give the pair to halve.auto"
    )


def _splits(text: str) -> list[tuple[str, str]]:
    found = list(_at_colons(text))
    if not found:
        raise OptionError(f"--feedback is {text!r}; allowed: OUTPUT:INPUT")
    return found


def _at_colons(text: str) -> Iterator[tuple[str, str]]:
    for place, letter in enumerate(text):
        if letter == ":" and 0 < place < len(text) - 1:
            yield text[:place], text[place + 1 :]
