"""Leave each ingredient of the drawn fields out once, and see what the recognizer loses.

    python -m scripts.lab.ingredients --corpus corpus --steps 600

Prints, for a short training with everything (several seeds, for the spread) and for one without
each ingredient: UF1 in both class schemes and the mean F1 of action units on the clips as they are;
accuracy in four classes with crops off by 15%, and with faces 0.6 and 1.6 times as large; and how
many pairs without an expression pass for a clear one.
"""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import pandas as pd
import tyro

from casme_tf.models.motion_net import WEIGHTS
from scripts.lab.fields import Ingredients
from scripts.lab.measure_pretrained import Disturbed, disturb_corpus, judge
from scripts.lab.pretrain import PretrainConfig, pretrain


@dataclass(frozen=True)
class Arguments:
    """What to compare."""

    corpus: Path
    """Folder that `synthesize` made."""
    steps: int = 600
    """Steps of each training."""
    painted: int = 1500
    """Painted pairs of each training."""
    seeds: tuple[int, ...] = (1, 2, 3)
    """Seeds of the trainings with everything; the first is that of the others."""
    limit: int | None = None
    """Measure on so many clips only."""
    only: tuple[str, ...] = ()
    """Leave out these ingredients only, each on its own."""


def figures(
    disturbed: Disturbed, arguments: Arguments, seed: int, *without: str
) -> dict[str, float]:
    """Train briefly and measure."""
    with tempfile.TemporaryDirectory(prefix="casme_tf_") as folder:
        out = Path(folder, "weights")
        pretrain(
            PretrainConfig(out, seed, arguments.steps, painted=arguments.painted, without=without)
        )
        measured = judge(disturbed, out / WEIGHTS)
    table = measured.sensitivity.set_index(["scheme", "disturbance", "amount"])
    nothing = measured.sensitivity[measured.sensitivity["accuracy"].isna()]
    row = {
        f"UF1 {name}": each["figures"]["uf1"]["model"] for name, each in measured.figures.items()
    }
    row["units F1"] = measured.units["F1"].mean()
    for name, amount in (("crop off", 0.15), ("scale", 0.6), ("scale", 1.6)):
        row[f"{name} {amount}"] = table.loc[("four", name, amount), "accuracy"]
    row["false alarms"] = nothing.groupby("disturbance")["called clear"].mean().mean()
    return row


def main(arguments: Arguments) -> None:
    """Print one row a training."""
    disturbed = disturb_corpus(arguments.corpus, limit=arguments.limit)
    rows = {}
    for seed in arguments.seeds:
        rows[f"everything, seed {seed}"] = figures(disturbed, arguments, seed)
    for name in arguments.only or vars(Ingredients()):
        rows[f"without {name}"] = figures(disturbed, arguments, arguments.seeds[0], name)
        print(
            pd.DataFrame.from_dict(rows, orient="index").to_string(float_format="%.3f"), flush=True
        )


if __name__ == "__main__":
    main(tyro.cli(Arguments))
