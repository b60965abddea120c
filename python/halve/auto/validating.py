"""A user's own verdict, called so that whatever it does wrong is told as such."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from halve.errors import OptionError
from halve.search_options import Validate

__all__ = ["by_name", "checked"]

_Outputs = dict[str, NDArray[Any]]


def checked(validate: Validate) -> Validate:
    """`validate`, with an OptionError where it raises or returns anything but a bool: then there
    is no verdict. It is given copies of the references, which later trials need as they are.
    """

    def ask(reference: list[NDArray[Any]], mixed: list[NDArray[Any]]) -> bool:
        try:
            answer: object = validate([array.copy() for array in reference], mixed)
        except Exception as error:
            raise OptionError(
                f"the validate function raised {type(error).__name__}: {error}; allowed: a function"
                " of (reference outputs, mixed outputs), two lists of arrays in graph order, that"
                " returns True or False"
            ) from error
        if not isinstance(answer, bool | np.bool_):
            raise OptionError(
                f"the validate function returned {type(answer).__name__} {answer!r}; allowed: True"
                " or False"
            )
        return bool(answer)

    return ask


def by_name(validate: Validate) -> Callable[[_Outputs, _Outputs], bool]:
    """The same for outputs by name, in the reference's order."""

    def ask(reference: _Outputs, mixed: _Outputs) -> bool:
        return validate(list(reference.values()), [mixed[name] for name in reference])

    return ask
