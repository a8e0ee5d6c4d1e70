"""Training one fold: the options, one call, and what is printed."""

from __future__ import annotations

import sys

from casme_tf.training.settings import TrainConfig


def run(options: TrainConfig) -> None:
    """Train one fold."""
    from casme_tf.runs import CONFIG, RunRecord
    from casme_tf.training.train import train

    run = train(options)
    leak = RunRecord.load(run / CONFIG).split["leak"]
    if leak:
        print(f"warning: figures of this split leak: {leak}", file=sys.stderr)
    print(run)
