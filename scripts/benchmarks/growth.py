"""How time and memory grow with the corpus, for `scripts/benchmarks/benchmark.py`.

    python scripts/benchmarks/growth.py build/benchmark

A small drawn corpus is multiplied by giving its clips to further subjects, which costs no drawing.
Each stage runs in a process of its own, whose memory is looked at twenty times a second.
"""

from __future__ import annotations

import csv
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import pandas as pd

SUBJECTS, CLIPS, FRAMES, SEED = 8, 64, 4, 32
FACTORS = (1, 16, 156)
KERNEL_CLIPS = 2000  # the kernel of more takes too long here
SHEET = "CASME2-coding-stand-in.xlsx"


@dataclass(frozen=True)
class Cost:
    """What a stage cost.

    Attributes:
        stage: Name of the stage.
        factor: Size of the corpus, relative to the smallest.
        clips: Number of clips in the coding sheet.
        seconds: Wall time, start of the process included.
        megabytes: Peak memory of the process, files that are mapped left out.
    """

    stage: str
    factor: int
    clips: int
    seconds: float
    megabytes: float


def measure_growth(folder: Path) -> list[Cost]:
    """Run the stages on corpora of growing size.

    Args:
        folder: The benchmark's folder.

    Returns:
        One row a stage and size.
    """
    small = folder / "growth-1"
    if not small.exists():
        options = {"subjects": SUBJECTS, "clips": CLIPS, "frames": FRAMES, "seed": SEED}
        flags = [f"--{name}={value}" for name, value in options.items()]
        run(program("casme-tf"), "synthesize", f"--out={small}", *flags)
    multiply(small, small, 1)
    costs = []
    for factor in FACTORS:
        corpus = folder / f"growth-{factor}"
        if not corpus.exists():
            multiply(small, corpus, factor)
        prepared, built = folder / "growth-prepared", folder / "growth-tfds"
        for out in (prepared, built):
            shutil.rmtree(out, ignore_errors=True)
        stages = {
            "prepare": [
                *(program("casme-tf"), "prepare-dataset", "--allow-missing"),
                *("--raw", corpus / "CASME2-RAW", "--coding", corpus / "coding.csv"),
                *("--out", prepared),
            ],
            "build": [
                *(program("tfds"), "build", "casme2", "--imports", "casme_tf.datasets.casme2"),
                *("--manual_dir", prepared, "--data_dir", built),
            ],
            "read, streaming": [sys.executable, "-c", STREAM, built],
            "frames at 224 px": [sys.executable, "-c", RESIZE, built],
            "motion": [sys.executable, "-c", MOTION, built, folder / "motion.npy"],
        }
        for arch in ("ststnet", "svm", "kernel"):
            if arch != "kernel" or factor * CLIPS <= KERNEL_CLIPS:
                fold = [sys.executable, "-c", FOLD, folder / "motion.npy", arch]
                stages[f"one fold, {arch}"] = fold
        for stage, command in stages.items():
            seconds, megabytes = run(*command)
            costs.append(Cost(stage, factor, factor * CLIPS, seconds, megabytes))
    return costs


STREAM = """
import sys
import tensorflow_datasets as tfds
from casme_tf.datasets.built import open_dataset
once = tfds.ReadConfig(try_autocache=False)
dataset = open_dataset("casme2", sys.argv[1]).as_dataset(split="train", read_config=once)
print(sum(int(clip["apex"][0, 0, 0] >= 0) for clip in dataset.as_numpy_iterator()))
"""

RESIZE = """
import sys
from pathlib import Path
from casme_tf.datasets.pairs import load_pairs
print(len(load_pairs(Path(sys.argv[1]), 224)))
"""

MOTION = """
import os, sys
from pathlib import Path
import numpy as np
from casme_tf.datasets.pairs import load_pairs
from casme_tf.training.inputs import ClipInputs
clips = ClipInputs(load_pairs(Path(sys.argv[1]), 224).frames, workers=os.cpu_count())
np.save(sys.argv[2], clips.uv_strain["motion"])
"""

# Copies of a clip differ by noise; equal ones would be refused in two parts of a fold.
FOLD = """
import sys
import numpy as np
from casme_tf.evaluation.cross_validation import cross_validate
from casme_tf.models.estimators import MotionKernel, MotionSVM
from casme_tf.models.ststnet import ststnet
motion, rng = np.load(sys.argv[1]), np.random.default_rng(0)
motion += rng.normal(scale=1e-3, size=motion.shape).astype(np.float32)
clip = np.arange(len(motion))
makers = {"ststnet": ststnet, "svm": MotionSVM, "kernel": MotionKernel}
table = cross_validate(
    makers[sys.argv[2]], {"motion": motion}, clip % 4, (clip // 4 % 8).astype(str),
    protocol="subject-holdout", epochs=10,
)
print(len(table))
"""


def program(name: str) -> Path:
    """Return a program of this environment."""
    return Path(sys.executable).with_name(name)


def multiply(small: Path, out: Path, factor: int) -> None:
    """Copy every clip of a corpus to `factor` subjects, by links to its frames.

    Args:
        small: A drawn corpus, which is left with a sheet `coding.csv` as well.
        out: The corpus to make.
        factor: Number of subjects that get a copy of each clip.
    """
    sheet = pd.read_excel(small / SHEET, dtype=str, header=None).fillna("")
    header, rows = sheet.iloc[0].tolist(), sheet.iloc[1:].to_numpy().tolist()
    many = []
    for copy in range(factor):
        for row in rows:
            number = int(row[0]) + copy * SUBJECTS
            many.append([f"{number:02d}", *row[1:]])
            if out != small:
                source = small / "CASME2-RAW" / f"sub{int(row[0]):02d}" / row[1]
                target = out / "CASME2-RAW" / f"sub{number:02d}" / row[1]
                shutil.copytree(source, target, copy_function=os.link)
    with (out / "coding.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *many])
    if out != small:
        shutil.copy(small / "corpus.json", out)


def run(*command: object) -> tuple[float, float]:
    """Run a command; return wall seconds and peak memory in MB, files that are mapped left out."""
    words = [str(word) for word in command]
    most = 0.0
    start = time.perf_counter()
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=errors)
        while process.poll() is None:
            most = max(most, own_memory(process.pid))
            time.sleep(0.05)
        seconds = time.perf_counter() - start
        if process.returncode:
            errors.seek(0)
            error = errors.read().decode(errors="replace")[-1000:]
            raise SystemExit(f"{' '.join(words)} failed:\n{error}")
    return seconds, most


def own_memory(process: int) -> float:
    """Return the memory in MB that a process holds now; 0 where the system has no /proc."""
    try:
        status = Path(f"/proc/{process}/status").read_text()
    except OSError:
        return 0.0
    kilobytes = next((x.split()[1] for x in status.splitlines() if x.startswith("RssAnon")), "0")
    return int(kilobytes) / 1e3


if __name__ == "__main__":
    table = pd.DataFrame([asdict(cost) for cost in measure_growth(Path(sys.argv[1]))])
    print(table.to_string(index=False))
