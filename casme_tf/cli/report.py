"""Writing a run's report: the options, one call, and what is printed."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import arg

from casme_tf.runs import RUNS


@dataclass(frozen=True)
class ReportConfig:
    """Write report.html of a run: one file to read or print, which loads nothing."""

    run: str
    """Name of the run; it must have been evaluated."""
    beside: tuple[str, ...] = ()
    """Names of other runs on the same clips, to compare it with. Those of the same protocol are
    included anyway."""
    runs: Path = RUNS
    """Folder of all runs."""
    data_dir: Path | None = None
    """Folder that `tfds build` wrote to, for the frames. Default: the one that the run was trained
    on."""
    frames: Annotated[
        bool, arg(help="Show no frames of clips in the report, so that it may be passed on.")
    ] = True
    """Show frames of the clips that were answered wrong most confidently. Frames of CASME II are
    licensed: keep the file as the license asks."""


def run(options: ReportConfig) -> None:
    """Write the report of a run."""
    from casme_tf.evaluation.reports.html import write_report
    from casme_tf.evaluation.results import comparable_runs, missing_baselines
    from casme_tf.runs import run_folder

    run = run_folder(options.runs, options.run)
    others = comparable_runs(run)
    named = [run_folder(options.runs, name) for name in options.beside]
    beside = dict.fromkeys([*named, *(other.folder for other in others)])
    print(write_report(run, list(beside), data_dir=options.data_dir, frames=options.frames))
    if advice := missing_baselines(run, others):
        print(f"note: {advice}", file=sys.stderr)
