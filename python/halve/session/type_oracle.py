"""ONNX Runtime as the one who knows what types operators without an ONNX schema make.

A model of nothing but the operators in question is loaded, without payload and with untyped
outputs; ONNX Runtime infers their types while it loads. Nothing is run.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from onnx import ModelProto, NodeProto, TensorProto, ValueInfoProto, helper

from halve.errors import BackendUnavailableError, SessionError
from halve.options import ConvertOptions
from halve.session.runtime import Session, load
from halve.types import TypeAnswer, TypeQuestion

__all__ = ["RuntimeTypes", "with_runtime_types"]

_CODES = {f"tensor({name.lower()})": code for name, code in TensorProto.DataType.items()}
_OPAQUE = -1
# Any that every supported ONNX Runtime has, for a model that is never saved.
_IR_VERSION, _DEFAULT_OPSET = 8, 13


def with_runtime_types(options: ConvertOptions | None) -> ConvertOptions:
    """The options with ONNX Runtime as the type oracle where they name none."""
    options = options or ConvertOptions()
    if options.type_oracle is not None:
        return options
    return replace(options, type_oracle=RuntimeTypes(options.custom_op_library))


class RuntimeTypes:
    """A `TypeOracle` that asks ONNX Runtime, with a custom-op library where one is given.

    Answers are kept, so a question is put once. Safe to use from several threads. Without ONNX
    Runtime every answer is empty.
    """

    def __init__(self, custom_op_library: Path | None = None) -> None:
        """Nothing is loaded before the first question."""
        self._library = custom_op_library
        self._answers: dict[TypeQuestion, TypeAnswer] = {}
        self._checked = custom_op_library is None
        self._lock = threading.Lock()

    def __reduce__(self) -> tuple[type[RuntimeTypes], tuple[Path | None]]:
        """A copy in another process asks anew."""
        return RuntimeTypes, (self._library,)

    def __call__(self, questions: Sequence[TypeQuestion]) -> list[TypeAnswer]:
        """An answer a question.

        Raises:
            SessionError: the custom-op library cannot be loaded.
        """
        with self._lock:
            try:
                self._check_library()
                self._ask([q for q in dict.fromkeys(questions) if q not in self._answers])
            except BackendUnavailableError as error:
                return [TypeAnswer(reason=str(error))] * len(questions)
            return [self._answers[question] for question in questions]

    def output_types(self, node: NodeProto, opset: int, inputs: Sequence[str]) -> list[str | None]:
        """The types of a node's outputs, given those of its inputs ("tensor(float)", "" for an
        absent one); None for each that is not known.

        Raises:
            SessionError: the custom-op library cannot be loaded.
        """
        nothing: list[str | None] = [None] * len(node.output)
        pairs = zip(node.input, inputs, strict=True)
        if any(name and text not in _CODES for name, text in pairs):
            return nothing
        plain = NodeProto(domain=node.domain, op_type=node.op_type, attribute=node.attribute)
        codes = tuple(_CODES[text] if text else 0 for text in inputs)
        present = tuple(map(bool, node.output))
        question = TypeQuestion(plain.SerializeToString(deterministic=True), opset, codes, present)
        names = {code: text for text, code in _CODES.items()}
        return [names.get(code) for code in self([question])[0].outputs] or nothing

    def _check_library(self) -> None:
        """Load it beside a model that needs nothing of it, so that what fails is the library."""
        if self._checked:
            return
        question = TypeQuestion(
            NodeProto(op_type="Identity").SerializeToString(), 13, (1,), (True,)
        )
        try:
            self._load([question])
        except SessionError as error:
            raise SessionError(
                f"custom_op_library {self._library} cannot be loaded: {error.__cause__ or error};"
                " give the path of a shared library with ONNX Runtime custom ops that is built for"
                " this system"
            ) from error
        self._checked = True

    def _ask(self, questions: Sequence[TypeQuestion]) -> None:
        """All in one model; where that does not load, each in one of its own."""
        versions: dict[tuple[str, int], list[TypeQuestion]] = {}
        for question in questions:
            key = NodeProto.FromString(question.operator).domain, question.opset
            versions.setdefault(key, []).append(question)
        for group in versions.values():
            try:
                self._answers.update(_read(group, self._load(group)))
            except SessionError:
                self._answers.update((question, self._ask_alone(question)) for question in group)

    def _ask_alone(self, question: TypeQuestion) -> TypeAnswer:
        try:
            session = self._load([question])
        except SessionError as error:
            return TypeAnswer(reason=" ".join(str(error.__cause__ or error).split()))
        return _read([question], session)[question]

    def _load(self, questions: Sequence[TypeQuestion]) -> Session:
        return load(
            _model(questions),
            optimise=False,
            custom_op_library=self._library,
            where="a model that asks for types",
        )


def _model(questions: Sequence[TypeQuestion]) -> ModelProto:
    """The operators side by side, reading graph inputs; values are named by their places."""
    model = ModelProto(ir_version=_IR_VERSION)
    model.graph.name = "types"
    opsets = {"": _DEFAULT_OPSET}
    for number, question in enumerate(questions):
        node = NodeProto.FromString(question.operator)
        opsets[node.domain] = question.opset
        for slot, elem in enumerate(question.inputs):
            name = f"in{number}_{slot}" if elem else ""
            node.input.append(name)
            if elem:
                model.graph.input.append(helper.make_tensor_value_info(name, elem, None))
        node.output.extend(_output_names(number, question))
        model.graph.output.extend(ValueInfoProto(name=name) for name in node.output if name)
        model.graph.node.append(node)
    model.opset_import.extend(helper.make_opsetid(*item) for item in opsets.items())
    return model


def _output_names(number: int, question: TypeQuestion) -> list[str]:
    return [f"out{number}_{slot}" if there else "" for slot, there in enumerate(question.outputs)]


def _read(questions: Sequence[TypeQuestion], session: Session) -> dict[TypeQuestion, TypeAnswer]:
    found = {port.name: _CODES.get(port.type, _OPAQUE) for port in session.outputs}
    return {
        question: TypeAnswer(tuple(found.get(name, 0) for name in _output_names(number, question)))
        for number, question in enumerate(questions)
    }
