"""Cropping one clip: its two frames in, its folder and its row of the manifest out."""

from __future__ import annotations

import hashlib
import threading
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from casme_tf.clips.apex import CLEAR, Method, Spotting, spot_apex
from casme_tf.clips.detector import Box, Detector, Face, FaceDetector, crop_box
from casme_tf.clips.frames import Frame
from casme_tf.clips.images import encode_jpeg, read_rgb
from casme_tf.clips.tracking import FaceTracker
from casme_tf.datasets.coding_sheet import Clip
from casme_tf.datasets.prepared import Manifest, ManifestRow
from casme_tf.datasets.raw_clips import FrameFiles, FramePair
from casme_tf.errors import UserError
from casme_tf.files import atomic_folder

SHEET = "sheet"
"""Source of an apex that the coding sheet names."""

VERSION = "1"
"""Raise it when the same frames get another apex."""


@dataclass(frozen=True)
class SharedDetector:
    """A face detector that several threads use in turn.

    Args:
        detector: The detector.
        lock: Lets one thread at a time use it.
    """

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
    """Find the apex of a clip between its onset and its offset.

    Args:
        files: Its frames, the first being the onset.
        detector: Finds the face.
        method: See `apex.spot_apex`.
        fps: Frames a second.

    Returns:
        The files of onset and apex, and how they were found.

    Raises:
        UserError: If a frame cannot be read, or the face is not seen.
    """
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

FPS = 200
"""Frames a second of CASME II's camera."""

FOLDER_PREFIX = "ROI_"


@dataclass(frozen=True)
class CropTask:
    """A clip that has to be cropped.

    Args:
        clip: Its annotation.
        frames: The files of its two frames; or, if it has no apex, those in which to find one.
        recipe: Digest of all that the crops depend on beside the frames.
        source_digest: Digest of the files.
    """

    clip: Clip
    frames: FramePair | FrameFiles
    recipe: str
    source_digest: str


@dataclass(frozen=True)
class ClipCropper:
    """Crops clips; several threads may use one.

    Args:
        out: Folder of the prepared clips.
        manifest: Its manifest; each clip is added when it is done.
        detector: Finds faces; `None` if all frames are cropped already and no apex is sought.
        method: How an apex is found that the sheet lacks.
        unclear: Clips whose apex could not be told clearly; grows.
        lock: Lets one thread at a time use the detector and the manifest.
    """

    out: Path
    manifest: Manifest
    detector: FaceDetector | None
    method: Method = "flow"
    unclear: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def crop(self, task: CropTask) -> ManifestRow | UserError:
        """Write a clip's crops, or find out what is wrong with its frames.

        Args:
            task: The clip.

        Returns:
            Its row of the manifest, or the reason why it cannot be prepared.

        Raises:
            UserError: If the crops cannot be written.
        """
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
            fps=str(FPS),
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
        pair, found = spot_missing(files, detector, self.method, FPS)
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
    }


def clip_folder(out: Path, subject: str, clip: str) -> Path:
    """Return the folder of a prepared clip."""
    return out / subject / f"{FOLDER_PREFIX}{clip}"


def files_digest(*paths: Path) -> str:
    """Return a digest of the content of files.

    Raises:
        UserError: If one cannot be read.
    """
    digest = hashlib.sha256()
    for path in paths:
        try:
            digest.update(hashlib.sha256(path.read_bytes()).digest())
        except OSError as error:
            raise UserError(f"{path} must be readable. Received: {error.strerror}.") from None
    return digest.hexdigest()[:16]
