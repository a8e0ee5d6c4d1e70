"""What the app answers with: its models, each loaded once, and answers for uploaded files."""

from __future__ import annotations

import csv
import itertools
import tempfile
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import cv2
from PIL import Image

from casme_tf.clips.apex import Method
from casme_tf.clips.detector import FaceRuntime
from casme_tf.clips.frames import (
    IMAGE_SUFFIXES,
    TO_CONVERT,
    FolderFrames,
    Frame,
    Frames,
    convert_first,
    read_rgb,
)
from casme_tf.clips.search import is_long
from casme_tf.clips.video import open_frames
from casme_tf.errors import UserError
from casme_tf.plotting import draw_image
from casme_tf.recognition.figures import answer_figure
from casme_tf.recognition.predict import model_path
from casme_tf.recognition.recognizer import Answer, Recognizer
from casme_tf.runs import CONFIG, MODEL, tflite_name
from casme_tf.synthetic import Corpus, synthesize

FPS = 200
"""Frames a second of drawn clips, as of CASME II."""

_SUBJECTS, _CLIPS, _FRAMES, _SEED = 2, 4, 17, 7


@dataclass(frozen=True)
class Limits:
    """Limits of the app."""

    max_megabytes: int = 200
    max_frames: int = 1200
    keep_minutes: float = 10
    queue: int = 64


class Example(NamedTuple):
    """A clip of the stand-in corpus."""

    folder: Path
    onset: int
    apex: int
    about: str

    def frame(self, number: int) -> Path:
        """Return the file of a frame."""
        return self.folder / f"img{number}.jpg"

    def video(self) -> Path:
        """Return a lossless video of it, written next to its frames."""
        path = self.folder.with_suffix(".avi")
        if not path.exists():
            frames = [frame.rgb for frame in FolderFrames(self.folder).between()]
            height, width = frames[0].shape[:2]
            code = cv2.VideoWriter.fourcc(*"FFV1")
            writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, code, FPS, (width, height))
            for frame in frames:
                writer.write(cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
            writer.release()
        return path


class Examples:
    """A small stand-in corpus, drawn when the first example is needed."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._clips: itertools.cycle[Example] | None = None

    def next(self) -> Example:
        """Return the next clip; after the last the first again."""
        with self._lock:
            if self._clips is None:
                corpus = synthesize(
                    self._folder,
                    subjects=_SUBJECTS,
                    clips=_CLIPS,
                    frames=_FRAMES,
                    seed=_SEED,
                    workers=1,
                )
                self._clips = itertools.cycle(_clips(corpus))
            return next(self._clips)


def _clips(corpus: Corpus) -> list[Example]:
    with corpus.truth.open(newline="") as file:
        rows = list(csv.DictReader(file))
    return [
        Example(
            corpus.raw / row["subject"] / row["clip"],
            int(row["onset"]),
            int(row["apex"]),
            f"Stand-in, drawn: {row['subject']}/{row['clip']}, {row['emotion']}, action units "
            + "+".join(unit.split(":")[0] for unit in row["action_units"].split("+"))
            + f"; onset {row['onset']}, apex {row['apex']}.",
        )
        for row in rows
    ]


DRAWN = {"four": "built in, four classes", "megc3": "built in, three classes"}
"""Models that are always there: the scheme of classes, and how it is called."""

MOST_LOADED = 4
"""Models kept in memory; the least recently used is evicted."""

_RUN = "run: "


class AppAnswers:
    """Answers for files, from the weights of this package or from a run; threads may share it."""

    def __init__(
        self,
        runs: Path,
        *,
        most_frames: int,
        face_model: Path | None = None,
        face_detector: FaceRuntime = "litert",
    ) -> None:
        self._runs = runs
        self._most_frames = most_frames
        self._faces: dict[str, Any] = {"face_model": face_model, "face_detector": face_detector}
        self._loaded: OrderedDict[str, Recognizer] = OrderedDict()
        # One thread, since models must not be freed nor matplotlib's settings be changed while
        # another answers, and since each thread that TensorFlow has run in keeps memory of its own.
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="answers")

    def __enter__(self) -> AppAnswers:
        return self

    def __exit__(self, *_: object) -> None:
        self._worker.shutdown()
        while self._loaded:
            self._loaded.popitem()[1].__exit__(None, None, None)

    def models(self) -> list[tuple[str, str]]:
        """Return what can be chosen, each as it is called and as it is passed on."""
        files = (tflite_name("float32"), MODEL)
        runs = sorted(
            folder.name
            for folder in (self._runs.iterdir() if self._runs.is_dir() else ())
            if (folder / CONFIG).is_file()
            and any((folder / name).is_file() for name in files)
            and not folder.name.startswith(".")
        )
        built_in = [(title, scheme) for scheme, title in DRAWN.items()]
        return built_in + [(_RUN + name, _RUN + name) for name in runs]

    def load(self, model: str) -> None:
        """Load one of `models` before its first prediction."""
        self._worker.submit(self._recognizer, model).result()

    def pair(
        self, model: str, onset: Path | None, apex: Path | None, *, cropped: bool = False
    ) -> tuple[list[Answer], Image.Image]:
        """Answer for two image files."""
        missing = [name for name, path in (("onset", onset), ("apex", apex)) if path is None]
        if onset is None or apex is None:
            raise UserError(
                "Two frames of one clip are needed, the onset and the apex. Missing: the "
                f"{' and the '.join(missing)}."
            )
        with _calling(_names((onset, apex))):
            _require_there((onset, apex))
            frames = [read_rgb(path) for path in (onset, apex)]
            return self._ask(model, lambda ask: [ask.pair(*frames, cropped=cropped)])

    def clip(
        self,
        model: str,
        files: Sequence[Path],
        *,
        fps: float | None = None,
        onset: int | None = None,
        apex: int | None = None,
        method: Method = "flow",
        cropped: bool = False,
    ) -> tuple[list[Answer], Image.Image]:
        """Answer for a clip."""
        _require_there(files)
        with _calling(_names(files)), _one_clip(files) as path:
            name = "the clip" if path.is_dir() else path.name
            frames = ShortFrames(open_frames(path, fps=fps), self._most_frames, name)
            if onset is None and apex is None and not cropped and is_long(frames):
                return self._ask(model, lambda ask: _search(ask, frames, method))
            return self._ask(
                model,
                lambda ask: [
                    ask.clip(frames, onset=onset, apex=apex, method=method, cropped=cropped)
                ],
            )

    def _ask(
        self, model: str, question: Callable[[Recognizer], list[Answer]]
    ) -> tuple[list[Answer], Image.Image]:
        return self._worker.submit(self._ask_here, model, question).result()

    def _ask_here(
        self, model: str, question: Callable[[Recognizer], list[Answer]]
    ) -> tuple[list[Answer], Image.Image]:
        recognizer = self._recognizer(model)
        found = question(recognizer)
        return found, draw_image(answer_figure(found[0], recognizer.grad_cam(found[0])))

    def _recognizer(self, model: str) -> Recognizer:
        if model not in self._loaded:
            if model in DRAWN:
                loaded = Recognizer(scheme=model, **self._faces)
            elif model.startswith(_RUN):
                file = model_path(self._runs, model.removeprefix(_RUN), None)
                loaded = Recognizer(file, **self._faces)
            else:
                raise UserError(f"The model must be one of the list. Received: {model!r}.")
            while len(self._loaded) >= MOST_LOADED:
                self._loaded.popitem(last=False)[1].__exit__(None, None, None)
            self._loaded[model] = loaded
        self._loaded.move_to_end(model)
        return self._loaded[model]


class ShortFrames:
    """A clip that raises an error when it is longer than allowed, whatever its header says."""

    def __init__(self, frames: Frames, most: int, name: str) -> None:
        self._frames = frames
        self._most = most
        frames.notes[:] = [note.replace(frames.name, name) for note in frames.notes]
        self.name = frames.name = name
        self.fps, self.count, self.notes = frames.fps, frames.count, frames.notes
        if self.count is not None and self.count > most:
            raise self._too_long(str(self.count))

    def between(self, first: int | None = None, last: int | None = None) -> Iterator[Frame]:
        """Yield the frames whose numbers lie between two, both included; by default all."""
        for position, frame in enumerate(self._frames.between(first, last)):
            if position == self._most:
                raise self._too_long("more")
            yield frame

    def _too_long(self, received: str) -> UserError:
        return UserError(
            f"A clip must have at most {self._most} frames here. Received: {received}. Pass the "
            "part around the movement."
        )


def _search(ask: Recognizer, frames: Frames, method: Method) -> list[Answer]:
    found = ask.search(frames, method=method)
    if not found.answers:
        reasons = " ".join(found.reasons)
        raise UserError(
            "A clip must show a movement. Received: one in which none stands out from what usually "
            f"moves. {reasons} If you know where to look, pass the onset and the apex."
        )
    return list(found.answers)


@contextmanager
def _calling(names: Mapping[str, str]) -> Iterator[None]:
    """Let messages call files as their owner does, not by where an upload was put."""
    try:
        yield
    except UserError as error:
        message = str(error)
        for path, name in names.items():
            message = message.replace(path, name)
        raise UserError(message) from error


@contextmanager
def _one_clip(files: Sequence[Path]) -> Iterator[Path]:
    """Yield a video file, or a folder in which all image files are."""
    images = [path for path in files if path.suffix.lower() in IMAGE_SUFFIXES]
    if not files:
        raise UserError("A clip is needed: a video file, or the image files of its frames.")
    for path in files:
        if path.suffix.lower() in TO_CONVERT:
            raise UserError(convert_first(path))
    if not images:
        if len(files) > 1:
            raise UserError(
                f"A clip must be one video file, or image files. Received: {len(files)} files "
                "that are no images."
            )
        yield files[0]
        return
    if len(images) < len(files):
        other = next(path for path in files if path not in images)
        raise UserError(
            f"A clip must be one video file, or image files. Received: both; {other.name} is no "
            "image."
        )
    with tempfile.TemporaryDirectory() as folder:
        for path in images:
            link = Path(folder, path.name)
            if link.exists():
                raise UserError(
                    "The frames of a clip must have different names. Received: two files called "
                    f"{path.name}."
                )
            link.symlink_to(path.absolute())
        with _calling({f"{folder}/": "", folder: "the clip"}):
            yield Path(folder)


def _require_there(files: Sequence[Path]) -> None:
    gone = [path.name for path in files if not path.exists()]
    if gone:
        raise UserError(
            f"Files must still be there. Received: {gone[0]}, which was deleted in the meantime, "
            "as all uploads are. Choose it again."
        )


def _names(files: Sequence[Path]) -> dict[str, str]:
    return {str(path): path.name for path in files}
