"""Comparing two runs: the options, one call, and what is printed."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from casme_tf.cli import keywords
from casme_tf.runs import RUNS


@dataclass(frozen=True)
class CompareConfig:
    """Compare two runs on the same clips: differences, intervals, tests, and what follows."""

    run_a: Annotated[str, Positional, arg(metavar="RUN_A")]
    """Name of the first run."""
    run_b: Annotated[str, Positional, arg(metavar="RUN_B")]
    """Name of the second run; differences are the first's figures minus these."""
    runs: Path = RUNS
    """Folder of all runs."""
    out: Path | None = None
    """Picture to write (.png). Default: comparisons/RUN_A-vs-RUN_B.png in the folder of all
    runs."""
    resamples: int = 2000
    """Draws of subjects for each interval and each p-value."""
    seed: int = 0
    """Seed of these draws."""
    clips: bool = False
    """List the clips that one run alone answered right."""
    json: bool = False
    """Print JSON."""


def run(options: CompareConfig) -> None:
    """Compare two runs on the same clips."""
    from casme_tf.evaluation.reports.compare_runs import (
        compare_runs,
        default_picture,
        draw_comparison,
    )
    from casme_tf.plotting import require_png

    if options.out is not None:
        require_png(options.out)
    done = compare_runs(**keywords(options, "out", "clips", "json"))
    default = default_picture(options.run_a, options.run_b, options.runs)
    picture = draw_comparison(done, options.out or default)
    if options.json:
        content = done.to_json(clips=options.clips) | {"picture": str(picture)}
        print(json.dumps(content, indent=2))
        return
    print(done.describe(clips=options.clips))
    print(picture)
