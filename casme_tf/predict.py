"""Asking a trained model about a pair of frames."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from casme_tf.artifacts import load_artifact
from casme_tf.config import PredictConfig
from casme_tf.errors import UserError
from casme_tf.images import read_rgb
from casme_tf.run import CONFIG, RunRecord, model_file, run_folder

if TYPE_CHECKING:
    from casme_tf.face_crop import Box

_PREFERRED = "model_float32.tflite"


@dataclass(frozen=True)
class Prediction:
    """What a pair of frames shows.

    Attributes:
        label: The most probable class.
        probabilities: Probability by class.
        box: Where the face was taken from in both frames; None if they were taken as they are.
        faces: Number of faces in the onset frame, of which the largest was taken; None as above.
        model: The file that answered.
    """

    label: str
    probabilities: dict[str, float]
    box: Box | None
    faces: int | None
    model: Path


def predict(config: PredictConfig) -> Prediction:
    """Find the face, cut both frames with one box, and ask the model.

    Args:
        config: Frames and model; see `PredictConfig`.

    Returns:
        The answer.

    Raises:
        UserError: If a frame or the model cannot be read, the frames differ in size, or no face
            is found.
    """
    model = _model_path(config)
    artifact = load_artifact(model)
    frames = {"onset": read_rgb(config.onset), "apex": read_rgb(config.apex)}
    shapes = {name: frame.shape[:2] for name, frame in frames.items()}
    if shapes["onset"] != shapes["apex"]:
        raise UserError(
            "Onset and apex must be frames of one clip, of one size. Received: "
            + ", ".join(f"{name} of {w}×{h} px" for name, (h, w) in shapes.items())
            + "."
        )
    box = faces = None
    if not config.cropped:
        # The detector brings TensorFlow along, which crops and LiteRT do without.
        from casme_tf.face_crop import FaceDetector, crop_box

        with FaceDetector(config.face_model) as detector:
            face = detector.detect(frames["onset"])
        box, faces = crop_box(face, shapes["onset"]), face.count
        frames = {name: box.crop(frame) for name, frame in frames.items()}
    pair = {name: resize(frame, artifact.frame_size)[None] for name, frame in frames.items()}
    probabilities = artifact(pair)[0]
    return Prediction(
        label=artifact.classes[int(probabilities.argmax())],
        probabilities=dict(zip(artifact.classes, map(float, probabilities), strict=True)),
        box=box,
        faces=faces,
        model=model,
    )


def resize(frame: np.ndarray, size: int) -> np.ndarray:
    """Resize a frame as the input pipeline does, without TensorFlow.

    Args:
        frame: `(H, W, 3)` uint8.
        size: Side of the result, px.

    Returns:
        `(size, size, 3)` uint8, within one grey level of `input_pipeline.resize_frame`.
    """
    return np.asarray(Image.fromarray(frame).resize((size, size), Image.Resampling.BILINEAR))


def _model_path(config: PredictConfig) -> Path:
    if (config.run is None) == (config.model is None):
        given = "neither" if config.run is None else "both"
        raise UserError(f"Give either --run NAME or --model PATH. Received: {given}.")
    if config.model is not None:
        return config.model
    run = run_folder(config.runs, config.run or "")
    preferred = run / _PREFERRED
    if preferred.is_file():
        return preferred
    RunRecord.load(run / CONFIG)  # complains if there is no such run
    return model_file(run)
