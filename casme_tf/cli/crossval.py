"""Cross-validating architectures: the options, one call, and what is printed."""

from __future__ import annotations

import sys
from contextlib import suppress

from casme_tf.evaluation.settings import CrossvalConfig


def run(options: CrossvalConfig) -> None:
    """Cross-validate architectures."""
    import tensorflow as tf

    from casme_tf.evaluation.crossval import crossval

    # Sums depend on how many threads share an operation. With one, figures do not depend on the
    # number of cores, and the cores have folds of their own, which is faster for small networks.
    with suppress(RuntimeError):  # in a process that has used TensorFlow before
        tf.config.threading.set_intra_op_parallelism_threads(1)

    done = crossval(options)
    print(done.describe())
    for run in done.runs:
        print(run)
    if done.leak:
        print(f"warning: these figures leak: {done.leak}", file=sys.stderr)
