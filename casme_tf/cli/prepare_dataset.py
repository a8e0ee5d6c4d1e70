"""Preparing the pairs of a corpus: the options, one call, and what is printed."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import arg

from casme_tf.cli import FACES, FaceOptions


@dataclass(frozen=True)
class PrepareConfig:
    """Cut the faces out of the raw clips' onset and apex frames."""

    raw: Path
    """Folder of the raw clips (CASME2-RAW) or of the authors' crops (Cropped)."""
    out: Path
    """Folder to write to; run again, it does only what is missing or has changed."""
    coding: Path | None = None
    """Coding sheet, .xlsx, .xls or .csv; SMIC has none."""
    database: str = "casme2"
    """Database that the clips are of: casme2, casme, samm, smic/hs, smic/vis, smic/nir, casme3/a,
    casme3/c, mmew, fourdme or dfme."""
    corrections: Path | None = None
    """Your corrections of the sheet (.csv), applied after those that come with this package."""
    shipped_corrections: Annotated[
        bool, arg(help="Do not apply the corrections that come with this package.")
    ] = True
    """Apply the corrections that come with this package."""
    spot: Literal["flow", "ten-cell", "none"] = "flow"
    """How an apex is found that the sheet lacks: flow (the pattern of motion that comes and goes),
    ten-cell (how much ten cells of the face change), or none (such clips are not prepared)."""
    workers: int | None = None
    """Threads. Default: the number of cores."""
    allow_missing: bool = False
    """Succeed although some clips could not be prepared, or rows of the sheet not be read."""
    faces: FaceOptions = FACES


def run(options: PrepareConfig) -> int:
    """Prepare the pairs of a corpus; 1 if some could not be and that is not allowed."""
    from casme_tf.datasets.coding_sheet import SHIPPED_CORRECTIONS
    from casme_tf.datasets.prepare import prepare_dataset
    from casme_tf.formatting import count

    corrections = [SHIPPED_CORRECTIONS] if options.shipped_corrections else []
    corrections += [options.corrections] if options.corrections else []
    done = prepare_dataset(
        options.raw,
        options.coding,
        options.out,
        database=options.database,
        corrections=corrections,
        leave_out=options.allow_missing,
        face_model=options.faces.face_model,
        face_detector=options.faces.face_detector,
        spot=None if options.spot == "none" else options.spot,
        workers=options.workers,
    )
    for note in done.notes:
        print(f"note: {note}", file=sys.stderr)
    for problem in done.left_out:
        print(f"left out: {problem}", file=sys.stderr)
    for reason, clips in _by_reason(done.failures).items():
        print(f"not prepared: {clips}: {reason}", file=sys.stderr)
    print(f"coding sheet: {done.sheet}")
    print(
        f"{options.out}: {done.prepared} clips prepared, {done.reused} kept, "
        f"{len(done.failures)} not prepared"
        + (f", {count(len(done.left_out), 'row')} left out" if done.left_out else "")
    )
    if done.failures and not options.allow_missing:
        print(
            f"error: {len(done.failures)} clips could not be prepared; the others are there. "
            "Pass --allow-missing to go on without them.",
            file=sys.stderr,
        )
        return 1
    return 0


def _by_reason(failures: Iterable[tuple[str, str, str]]) -> dict[str, str]:
    """Name the clips of each reason; where they are many, their number and the first."""
    names: dict[str, list[str]] = {}
    for subject, clip, reason in failures:
        names.setdefault(reason, []).append(f"{subject}/{clip}")
    return {
        reason: ", ".join(clips) if len(clips) <= 5 else f"{len(clips)} clips, {clips[0]} the first"
        for reason, clips in names.items()
    }
