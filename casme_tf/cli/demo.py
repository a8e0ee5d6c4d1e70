"""The whole chain on a small stand-in corpus, each stage by the command that a user would type."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from casme_tf.errors import UserError
from casme_tf.evaluation.settings import BASELINES
from casme_tf.files import atomic_file
from casme_tf.runs import CONFIG, RUNS, RunRecord, run_folder

RUN = "demo"
TAKES = "four to eight minutes on two processor cores, and 180 MB of disk"
_SUBJECTS, _CLIPS, _FRAMES = 26, 255, 9
_RESNET = (
    *("casme-tf", "train", "--arch", "flow", "--weights", "none", "--network-size", "64"),
    *("--backbone", "trained", "--batch-size", "16", "--learning-rate", "3e-4"),
    *("--dropout", "0.1"),
)
"""How ResNet50 is trained from scratch on the demo's corpus, which takes longer than the demo."""


@dataclass(frozen=True)
class DemoConfig:
    """Run the whole chain on a small stand-in corpus, from raw clips to an answer."""

    data: Path = Path("build/demo")
    """Folder for the corpus, the prepared pairs and the built data set; emptied first."""
    runs: Path = RUNS
    """Folder of all runs; the demo's is `demo`, replaced."""
    seed: int = 12
    """Seed of everything random: the drawings, the split, the training."""


def run(config: DemoConfig) -> None:
    """Draw a corpus, prepare, build, train, evaluate, export and predict.

    Args:
        config: Where to put things; see `DemoConfig`.

    Raises:
        UserError: If the folder holds other things, or a stage fails; what it printed says why.
    """
    if not 0 <= config.seed < 2**31:
        raise UserError(f"--seed must be from 0 to {2**31 - 1}. Received: {config.seed}.")
    _require_own_run(config)
    _clear(config.data)
    print(f"The demo takes {TAKES}.")
    corpus, prepared, built = (config.data / name for name in ("corpus", "prepared", "tfds"))
    began = time.monotonic()
    for title, command in _stages(corpus, prepared, built, config):
        _run(title, command)
    run = run_folder(config.runs, RUN)
    clip, onset, apex = _test_clip(corpus, prepared, run)
    _run(
        "predict a pair of frames of a subject it has never seen",
        [
            *("casme-tf", "predict", "--run", RUN, "--runs", config.runs, "--cropped"),
            *("--onset", onset, "--apex", apex),
        ],
    )
    _run(
        "predict the whole clip with the weights that come with the package",
        [
            *("casme-tf", "predict", "--clip", clip, "--fps", 200),
            *("--figure", config.data / "answer.png"),
        ],
    )
    _run("write all of it on one page", ["casme-tf", "report", "--run", RUN, "--runs", config.runs])
    _run(
        "the result, measured again with every exported file",
        ["casme-tf", "evaluate", "--run", RUN, "--runs", config.runs, "--artifacts"],
    )
    resnet = [*_RESNET, "--data-dir", str(built), "--runs", str(config.runs), "--run", "resnet50"]
    print(
        f"\nDrawn stand-in data throughout, in {time.monotonic() - began:.0f} s. The run: {run}\n"
        f"To train ResNet50 from scratch on the same clips:\n$ {shlex.join(resnet)}"
    )


def _clear(folder: Path) -> None:
    """Empty the folder of an earlier demo; leave any other alone."""
    marker = folder / "casme_tf_demo.txt"
    ours = not folder.exists() or marker.exists()
    if not ours and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(
            f"The demo's folder must be new, empty or of an earlier demo. Received: {folder}, "
            "which holds other things. Choose another with --data."
        )
    shutil.rmtree(folder, ignore_errors=True)
    with atomic_file(marker) as temporary:
        temporary.write_text("Made by `casme-tf demo`, which empties this folder when run again.\n")


def _require_own_run(config: DemoConfig) -> None:
    """Refuse to replace a run of that name that no demo made."""
    record = run_folder(config.runs, RUN) / CONFIG
    if not record.exists():
        return
    if RunRecord.load(record).data_dir != (config.data / "tfds").resolve():
        raise UserError(
            f"The demo makes the run {record.parent}. Received: a run of that name on other data. "
            "Rename it, or choose another folder of runs with --runs."
        )


def _stages(
    corpus: Path, prepared: Path, built: Path, config: DemoConfig
) -> list[tuple[str, list]]:
    runs = config.runs
    return [
        (
            "draw a stand-in for CASME II",
            [
                *("casme-tf", "synthesize", "--out", corpus),
                *("--subjects", _SUBJECTS, "--clips", _CLIPS, "--frames", _FRAMES),
                *("--seed", config.seed),
            ],
        ),
        (
            "find the faces with BlazeFace and cut out the pairs",
            [
                *("casme-tf", "prepare-dataset", "--raw", corpus / "CASME2-RAW"),
                *("--coding", corpus / "CASME2-coding-stand-in.xlsx", "--out", prepared),
            ],
        ),
        (
            "package them with TFDS",
            [
                *("tfds", "build", "casme2", "--imports", "casme_tf.datasets.casme2"),
                *("--manual_dir", prepared, "--data_dir", built, "--overwrite"),
            ],
        ),
        (
            "train a small network on optical flow, from the weights of the package",
            [
                *("casme-tf", "train", "--arch", "motion_net", "--run", RUN),
                *("--data-dir", built, "--runs", runs),
                *("--seed", config.seed, "--overwrite"),
            ],
        ),
        (
            "evaluate on subjects it has never seen",
            ["casme-tf", "evaluate", "--run", RUN, "--runs", runs],
        ),
        (
            "measure what is simple on the same subjects",
            [
                *("casme-tf", "crossval", "--arch", *BASELINES, "--run", f"{RUN}-baselines"),
                *("--protocol", "subject-holdout", "--seed", config.seed),
                *("--data-dir", built, "--runs", runs, "--overwrite"),
            ],
        ),
        ("export for servers and phones", ["casme-tf", "export", "--run", RUN, "--runs", runs]),
    ]


def _run(title: str, command: list) -> None:
    words = [str(word) for word in command]
    print(f"\n── {title}\n$ {shlex.join(words)}", flush=True)
    program = str(Path(sys.executable).with_name(words[0]))  # of this environment
    began = time.monotonic()
    environment = {k: v for k, v in os.environ.items() if k != "TF_CPP_MIN_LOG_LEVEL"}
    run = subprocess.run([program, *words[1:]], env=environment, stderr=sys.stderr, check=False)
    if run.returncode:
        raise UserError(
            f"Every stage must succeed. Received: status {run.returncode} from the one above "
            f"({title}). Its own message says why."
        )
    print(f"── {time.monotonic() - began:.0f} s", flush=True)


def _test_clip(corpus: Path, prepared: Path, run: Path) -> tuple[Path, Path, Path]:
    """Return the frames' folder of a clip of the test part, and its two crops."""
    import pandas as pd

    clip = pd.read_csv(run / "predictions.csv", dtype=str).iloc[0]
    folder = prepared / clip["subject"] / f"ROI_{clip['clip']}"
    raw = corpus / "CASME2-RAW" / clip["subject"] / clip["clip"]
    return raw, folder / "onset_frame.jpg", folder / "apex_frame.jpg"
