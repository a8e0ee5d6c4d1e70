"""What model code is given in a fold: its own clips, and models that know no other fold."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

from casme_tf.errors import LeakError


class FreshModels:
    """Make a model for each fold, and refuse one that an earlier fold may have trained.

    A function that hands out one model again and again, or new heads on one trainable backbone,
    carries what it learnt from a fold's test clips into that fold.

    Args:
        make_model: Function that makes an untrained model. What is passed to this object is
            passed on to it.

    Raises:
        LeakError: When called, if the model or one of its `trainable_variables` was in a model
            that was made before.

    Example:
        >>> from sklearn.svm import SVC
        >>> models = FreshModels(lambda: SVC(kernel="linear"))
        >>> models() is models()
        False
    """

    def __init__(self, make_model: Callable[..., Any]) -> None:
        self._make_model = make_model
        self._earlier: dict[int, Callable[[], Any]] = {}

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Make the next fold's model."""
        model = self._make_model(*args, **kwargs)
        variables = list(getattr(model, "trainable_variables", None) or [])
        used = [part for part in [model, *variables] if self._seen(part)]
        if used:
            what = "a model" if used[0] is model else f"a model with {len(used)} variables"
            raise LeakError(
                "Each fold must have a model of its own. "
                f"Received: {what} that an earlier fold was given. Make everything that is "
                "trained anew inside the function that makes the model."
            )
        for part in [model, *variables]:
            self._earlier[id(part)] = _reference(part)
        return model

    def _seen(self, part: Any) -> bool:
        # An id is used again once its object is gone, so the object itself is compared.
        reference = self._earlier.get(id(part))
        return reference is not None and reference() is part


def _reference(part: Any) -> Callable[[], Any]:
    """Refer to an object without keeping its memory, where its type allows that."""
    try:
        return weakref.ref(part)
    except TypeError:
        return lambda: part
