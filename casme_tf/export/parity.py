"""Does an exported artifact answer what the Keras model answers?"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from casme_tf.arrays import Pair
from casme_tf.export.artifacts import load_artifact
from casme_tf.progress import progress


@dataclass(frozen=True)
class Tolerance:
    """How far an artifact's answers may be from the Keras model's.

    Attributes:
        largest_difference: Largest difference of a probability; None for any.
        mean_difference: Mean difference of a probability; None for any.
        agreement: Least share of pairs with the same answer, 0…1.
        margin: An answer counts as different only where the Keras model's two likeliest classes
            are further apart than this: what lies closer, rounding may swap.
    """

    largest_difference: float | None = None
    mean_difference: float | None = None
    agreement: float = 0.0
    margin: float = 0.0


# Two probabilities may each move by the tolerated difference, one up, the other down.
EXACT = Tolerance(largest_difference=1e-3, margin=2e-3)
HALF = Tolerance(largest_difference=2e-2, margin=4e-2)
EIGHT_BITS = Tolerance(mean_difference=0.03, agreement=0.97, margin=0.06)


@dataclass(frozen=True)
class Parity:
    """How an artifact's answers compare with the Keras model's on the same pairs.

    Attributes:
        largest_difference: Largest difference of a probability.
        mean_difference: Mean difference of a probability.
        agreement: Share of pairs with the same answer, 0…1: the same likeliest class, or classes
            that the Keras model puts no further apart than the tolerance's margin.
        bytes: Size of the artifact.
        ms_per_pair: Median time of one pair, ms, on the machine that exported, two threads.
    """

    largest_difference: float
    mean_difference: float
    agreement: float
    bytes: int
    ms_per_pair: float

    def beyond(self, tolerance: Tolerance) -> list[str]:
        """Say what is beyond the tolerance; empty if nothing is."""
        problems = []
        for name in ("largest_difference", "mean_difference"):
            found, limit = getattr(self, name), getattr(tolerance, name)
            # Written so that NaN is beyond any limit.
            if limit is not None and not found <= limit:
                problems.append(f"{name.replace('_', ' ')} {found:.2g}, at most {limit:g}")
        if not self.agreement >= tolerance.agreement:
            problems.append(
                f"{self.agreement:.1%} same answers, at least {tolerance.agreement:.0%}"
            )
        return problems


def measure_parity(
    path: Path, frames: Pair, expected: np.ndarray, *, margin: float = 0.0
) -> Parity:
    """Ask an artifact about pairs, one at a time, and compare.

    Args:
        path: A SavedModel folder or a `.tflite` file.
        frames: `onset` and `apex`, each `(n, S, S, 3)` uint8.
        expected: `(n, classes)` probabilities of the Keras model.
        margin: See `Tolerance`.

    Returns:
        The comparison.

    Raises:
        UserError: If the artifact cannot be loaded.
    """
    artifact = load_artifact(path)
    answers, times = [], []
    for i in progress(
        range(len(expected)),
        desc=f"checking {path.name if path.is_file() else path.parent.name}",
        unit="pair",
    ):
        pair = {name: array[i : i + 1] for name, array in frames.items()}
        began = time.perf_counter()
        answers.append(artifact(pair)[0])
        times.append(time.perf_counter() - began)
    difference = np.abs(np.stack(answers) - expected)
    second, first = np.sort(expected, axis=1)[:, -2:].T
    same = (np.argmax(answers, axis=1) == expected.argmax(axis=1)) | (first - second <= margin)
    return Parity(
        largest_difference=float(difference.max()),
        mean_difference=float(difference.mean()),
        agreement=float(same.mean()),
        bytes=_size(path),
        ms_per_pair=round(float(np.median(times)) * 1e3, 2),
    )


def describe_parity(artifacts: dict[str, dict[str, Any]]) -> str:
    """Return the table of all artifacts in parity.json for the terminal."""
    rows = {
        name: {
            "largest difference": f"{row['largest_difference']:.1e}",
            "mean": f"{row['mean_difference']:.1e}",
            "same answers": f"{row['agreement']:.1%}",
            "MB": f"{row['bytes'] / 1e6:.1f}",
            "ms a pair": f"{row['ms_per_pair']:.1f}",
            "within tolerance": "yes" if row["within_tolerance"] else "NO",
            "published": "yes" if row["published"] else "NO",
        }
        for name, row in artifacts.items()
    }
    return pd.DataFrame.from_dict(rows, orient="index").to_string()


def _size(path: Path) -> int:
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())
