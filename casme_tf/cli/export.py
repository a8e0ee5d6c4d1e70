"""Exporting a run's model: the options, one call, and what is printed."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from casme_tf.errors import UserError
from casme_tf.runs import RUNS


@dataclass(frozen=True)
class ExportConfig:
    """Write a run's model as SavedModel and as TFLite, or as a page that answers in the browser."""

    run: str | None = None
    """Name of the run. Needed, but for the page, which without it has the recognizer of this
    package."""
    runs: Path = RUNS
    """Folder of all runs."""
    data_dir: Path | None = None
    """Folder that `tfds build` wrote to. Default: the one that the run was trained on."""
    calibration: int = 200
    """Training pairs, at most, that set the ranges of the int8 model: more are better."""
    formats: tuple[Literal["float32", "float16", "dynamic", "int8"], ...] = ()
    """Number formats of the TFLite files; those named must answer as the model does. Default: all
    of them, and dynamic and int8 are left out with a note if they do not."""
    accept: tuple[Literal["float16", "dynamic", "int8"], ...] = ()
    """Number formats to publish even if their answers differ too much from the model's; parity.json
    and the model card say by how much."""
    web: bool = False
    """Write a page of static files instead, from the TFLite file that is there: camera, video or
    two pictures, answered in the browser."""
    out: Path | None = None
    """Folder of the page. Default: web in the run's folder, or here."""
    litert: Path | None = None
    """Folder with the archives of LiteRT.js. Default: from npm once, then from your cache."""


def _require_page_options(options: ExportConfig) -> None:
    others = ("data_dir", "calibration", "formats", "accept")
    without = ExportConfig()
    given = [name for name in others if getattr(options, name) != getattr(without, name)]
    if given:
        named = ", ".join("--" + name.replace("_", "-") for name in given)
        raise UserError(
            f"--web takes the TFLite file that is there. Received: --web with {named}. Leave "
            f"{named} out, or export the run without --web first."
        )


def run(options: ExportConfig) -> int:
    """Export a run's model; 1 if an artifact that must hold answers too differently."""
    if options.web:
        _require_page_options(options)
        from casme_tf.export.web_page import export_web

        page = export_web(options.run, runs=options.runs, out=options.out, litert=options.litert)
        print(page.describe())
        print(page.folder)
        return 0
    if options.out or options.litert:
        raise UserError(
            "--out and --litert are options of --web. Received: one of them without it. A run's "
            "artifacts are written into its folder."
        )
    if options.run is None:
        raise UserError("Name the run to export with --run, or pass --web. Received: neither.")
    from casme_tf.export.export import export_run

    done = export_run(
        options.run,
        runs=options.runs,
        data_dir=options.data_dir,
        calibration=options.calibration,
        formats=options.formats,
        accept=options.accept,
    )
    print(done.describe())
    print(done.run)
    for reason in done.left_out:
        print(f"note: left out: {reason}", file=sys.stderr)
    for reason in done.refused:
        print(f"not published: {reason}", file=sys.stderr)
    if done.refused:
        print(
            f"error: {len(done.refused)} artifacts do not answer as the model does; the others are "
            "there. Name other number formats with --formats, or pass --accept with these.",
            file=sys.stderr,
        )
        return 1
    return 0
