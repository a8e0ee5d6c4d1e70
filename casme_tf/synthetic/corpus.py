"""A stand-in corpus on disk, in the layout of CASME II, and the truth about its motion."""

from __future__ import annotations

import csv
import json
import multiprocessing
import os
import re
import zipfile
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby
from pathlib import Path

import cv2
import numpy as np
import openpyxl

from casme_tf.datasets.prepared import ARGUMENTS_FILE
from casme_tf.errors import UserError
from casme_tf.files import atomic_folder
from casme_tf.progress import progress
from casme_tf.synthetic.motion import render_clip
from casme_tf.synthetic.portrait import paint_portrait
from casme_tf.synthetic.schedule import Schedule, ScheduledClip, draw_schedule

__all__ = ["Corpus", "open_corpus", "synthesize", "true_flow"]

RAW_FOLDER = "CASME2-RAW"
CODING_FILE = "CASME2-coding-stand-in.xlsx"
TRUTH_FILE = "truth.csv"

GENERATOR = 1
"""What a seed stands for. Raise it with every change that changes a corpus: an older corpus then
refuses to give a truth that is not its own."""


@dataclass(frozen=True)
class Corpus:
    """A stand-in corpus on disk: its root folder and how much it holds."""

    root: Path
    subjects: int
    clips: int
    frames: int

    @property
    def raw(self) -> Path:
        """The folder of the clips, `subXX/EPyy_zz/imgN.jpg`."""
        return self.root / RAW_FOLDER

    @property
    def coding(self) -> Path:
        """The coding sheet."""
        return self.root / CODING_FILE

    @property
    def truth(self) -> Path:
        """The table of what really happens in each clip."""
        return self.root / TRUTH_FILE


def open_corpus(root: Path | str) -> Corpus:
    """Return a corpus that `synthesize` wrote.

    Args:
        root: Its folder.

    Raises:
        UserError: If it is no such folder, or one of an older generator.
    """
    schedule = load_schedule(Path(root))
    return Corpus(Path(root), schedule.subjects, len(schedule.clips), schedule.frames)


def true_flow(
    out: Path | str, subject: str, clip: str, frame: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return how far each point of a clip's onset has moved in a later frame.

    Args:
        out: Root folder of a corpus of `synthesize`.
        subject: Such as `sub01`.
        clip: Such as `EP02_01f`.
        frame: Number of the frame, the N of `imgN.jpg`.

    Returns:
        The displacement from the onset, `(480, 640, 2)` float32, px, dx right, dy down, and the
        face at the onset, `(480, 640)` bool, inside which the displacement holds to 0.02 px.

    Raises:
        UserError: If there is no such corpus, clip or frame.
    """
    schedule = load_schedule(Path(out))
    found = [one for one in schedule.clips if (one.subject, one.name) == (subject, clip)]
    if not found:
        raise UserError(
            f"The clip must be one in {Path(out) / TRUTH_FILE}. Received: {subject}/{clip}."
        )
    first = found[0].first
    if not first <= frame < first + schedule.frames:
        raise UserError(
            f"The frame of {subject}/{clip} must be a number from {first} to "
            f"{first + schedule.frames - 1}. Received: {frame}."
        )
    motion = schedule.motion(found[0])
    return motion.displacement(frame - first), motion.face_mask()


def load_schedule(root: Path) -> Schedule:
    """Return everything about a corpus but its pixels."""
    path = root / ARGUMENTS_FILE
    try:
        arguments = json.loads(path.read_text(encoding="utf-8"))
        generator = arguments.pop("generator")
        numbers = {name: int(arguments[name]) for name in ("subjects", "clips", "frames", "seed")}
    except (OSError, ValueError, AttributeError, KeyError, TypeError) as error:
        raise UserError(
            f"A stand-in corpus must be a folder that synthesize wrote, with {ARGUMENTS_FILE}. "
            f"Received: {root} ({type(error).__name__}: {error})."
        ) from None
    if generator != GENERATOR:
        raise UserError(
            f"{path} must be of generator {GENERATOR}. Received: generator {generator}. "
            "Draw the corpus again."
        )
    return _schedule_of(**numbers)


@lru_cache(maxsize=4)
def _schedule_of(*, subjects: int, clips: int, frames: int, seed: int) -> Schedule:
    return draw_schedule(subjects=subjects, clips=clips, frames=frames, seed=seed)


_CODING_COLUMNS = (
    "Subject",
    "Filename",
    None,
    "OnsetFrame",
    "ApexFrame",
    "OffsetFrame",
    None,
    "Action Units",
    "Estimated Emotion",
)
_TRUTH_COLUMNS = ("subject", "clip", "onset", "apex", "offset", "action_units", "emotion")
_JPEG_QUALITY = 92
_CLIPS_A_TASK = 12


def synthesize(
    out: Path | str,
    *,
    subjects: int,
    clips: int,
    frames: int,
    seed: int,
    apexes: bool = True,
    workers: int | None = None,
) -> Corpus:
    """Draw a corpus of micro-expressions in the layout of CASME II.

    The same seed and numbers give the same bytes, however many workers there are.

    Args:
        out: Folder to write, missing or empty.
        subjects: At most `clips`.
        clips: Number of clips in total, spread unevenly over the subjects.
        frames: Frames of each clip, at least 4; the first is the onset, the last the offset.
        seed: Seed of everything random; not negative.
        apexes: Whether the coding sheet names apexes. If not, each is `/`, as some are in
            CASME II.
        workers: Processes; by default one for each processor.

    Returns:
        The corpus: `CASME2-RAW/subXX/EPyy_zz/imgN.jpg` (640×480 RGB),
        `CASME2-coding-stand-in.xlsx`, `truth.csv` (the apex also where the sheet has none; units
        with their largest displacement in px, such as `L12:1.50+R4:0.90`) and `corpus.json`.

    Raises:
        UserError: If an argument is out of range, or `out` is not empty or cannot be written.
    """
    _require_arguments(subjects=subjects, clips=clips, frames=frames, seed=seed, workers=workers)
    out = Path(out)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(
            f"The output must be a new or an empty folder. Received: {out}, which is not empty. "
            "Choose another one, or remove it first."
        )
    schedule = draw_schedule(subjects=subjects, clips=clips, frames=frames, seed=seed)
    with atomic_folder(out, overwrite=True) as folder:
        _write_clips(schedule, folder / RAW_FOLDER, workers)
        _write_coding(schedule, folder / CODING_FILE, apexes=apexes)
        _write_truth(schedule, folder / TRUTH_FILE)
        arguments = {
            "generator": GENERATOR,
            "subjects": subjects,
            "clips": clips,
            "frames": frames,
            "seed": seed,
            "apexes": apexes,
        }
        (folder / ARGUMENTS_FILE).write_text(json.dumps(arguments, indent=2) + "\n")
    return Corpus(out, subjects, clips, frames)


def _require_arguments(
    *, subjects: int, clips: int, frames: int, seed: int, workers: int | None
) -> None:
    for name, value, least in (
        ("number of subjects", subjects, 1),
        ("number of clips", clips, 1),
        ("number of frames a clip", frames, 4),
        ("seed", seed, 0),
        ("number of workers", 1 if workers is None else workers, 1),
    ):
        if value < least:
            raise UserError(f"The {name} must be at least {least}. Received: {value}.")
    if subjects > clips:
        raise UserError(
            "There must be at least one clip for each subject. "
            f"Received: {subjects} subjects and {clips} clips."
        )


def _write_clips(schedule: Schedule, raw: Path, workers: int | None) -> None:
    tasks: list[tuple[ScheduledClip, ...]] = []
    for _, of_subject in groupby(schedule.clips, key=lambda clip: clip.subject):
        clips = tuple(of_subject)
        tasks += [clips[i : i + _CLIPS_A_TASK] for i in range(0, len(clips), _CLIPS_A_TASK)]
    workers = min(workers or os.cpu_count() or 1, len(tasks))
    with progress(total=len(schedule.clips), desc="Drawing clips", unit="clip") as bar:
        if workers == 1:
            for task in tasks:
                bar.update(_write_subject(schedule, task, raw))
            return
        # A forked child of a process that runs TensorFlow may hang, so children start afresh.
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(workers, context, cv2.setNumThreads, (1,)) as pool:
            # The longest first, so that no worker is left alone with one at the end.
            tasks.sort(key=len, reverse=True)
            futures = [pool.submit(_write_subject, schedule, task, raw) for task in tasks]
            try:
                for future in as_completed(futures):
                    bar.update(future.result())
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise


def _write_subject(schedule: Schedule, clips: Sequence[ScheduledClip], raw: Path) -> int:
    """Write clips of one subject and return how many."""
    subject = clips[0].subject
    portrait = paint_portrait(schedule.traits(subject), schedule.portrait_rng(subject))
    for clip in clips:
        folder = raw / subject / clip.name
        folder.mkdir(parents=True)
        frames = render_clip(portrait, schedule.motion(clip), schedule.sensor_rng(clip))
        for number, rgb in enumerate(frames, clip.first):
            bgr = cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR)
            _, jpeg = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
            (folder / f"img{number}.jpg").write_bytes(jpeg.tobytes())
    return len(clips)


def _write_coding(schedule: Schedule, path: Path, *, apexes: bool) -> None:
    book = openpyxl.Workbook()
    sheet = book.active
    sheet.title = "Sheet1"
    sheet.append(_CODING_COLUMNS)
    for clip in schedule.clips:
        apex = clip.first + clip.apex if apexes and clip.apex_coded else "/"
        frames = (clip.first, apex, clip.first + schedule.frames - 1)
        sheet.append((clip.subject[3:], clip.name, None, *frames, None, clip.cell, clip.emotion))
    book.save(path)
    _without_times(path)


def _without_times(path: Path) -> None:
    """Take the time of writing out of a spreadsheet, so that a seed gives the same bytes."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            if name == "docProps/core.xml":
                data = re.sub(rb"\d{4}-\d\d-\d\dT[\d:.]+Z", b"2000-01-01T00:00:00Z", data)
            archive.writestr(zipfile.ZipInfo(name), data, zipfile.ZIP_DEFLATED)


def _write_truth(schedule: Schedule, path: Path) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(_TRUTH_COLUMNS)
        writer.writerows(_truth_rows(schedule))


def _truth_rows(schedule: Schedule) -> Iterable[tuple[str | int, ...]]:
    for clip in schedule.clips:
        units = "+".join(f"{unit.name}:{unit.strength:.2f}" for unit in clip.units)
        last = clip.first + schedule.frames - 1
        apex = clip.first + clip.apex
        yield clip.subject, clip.name, clip.first, apex, last, units, clip.emotion
