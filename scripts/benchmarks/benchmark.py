"""Measure casme_tf against the original system's way of doing it, in turns, as ratios.

    make bench

The other side is PyTorch 2 on the processor (eager, float32) and OpenCV, in an environment of its
own that this script makes; nothing of it is needed by users or tests. Both get the same inputs,
weights and threads; of each row both sides are run once unmeasured, then in turns, and the ratio is
taken round by round. Of a row that falls short the parts are timed too. Prints the table, and
writes benchmarks.json and benchmarks.png. Drawn data throughout. Other work on the machine makes
ratios unreliable. It takes 40 minutes on two idle cores; interrupted, it goes on from the last
whole row when run again.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import time
import venv
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
import tyro
from growth import measure_growth
from startup import processor
from tables import describe, describe_growth, draw
from worker import Answer, Worker

from casme_tf.export.export import EIGHT_BITS
from casme_tf.files import atomic_file
from casme_tf.progress import progress
from casme_tf.runs import NUMBER_FORMATS

SCRIPTS = Path(__file__).resolve().parent
PYTORCH = "torch==2.13.0"


@dataclass(frozen=True)
class Arguments:
    """What to measure."""

    folder: Path = Path("build/benchmark")
    """Folder for the environment, the data and the results."""
    rounds: int = 5
    """How often each side of a row is timed; long rows are timed less often."""
    rows: tuple[str, ...] = ()
    """Measure these rows alone, by their keys in benchmarks.json."""


@dataclass(frozen=True)
class Row:
    """One comparison.

    Attributes:
        key: Its name in benchmarks.json.
        work: What is done.
        alternative: What it is compared with.
        aim: Ratio aimed at: time or size of the alternative over ours.
        ours: Task of our side, with its arguments.
        theirs: Task of the other side, with its arguments.
        side: Which worker does their task.
        own: Which worker does our task.
        share: Share of the rounds that is enough.
        unit: Unit of the figure.
        compare: Returns how far both sides' answers agree, and whether that is far enough; None if
            there is nothing to compare.
        parts: Tasks of ours and of theirs that time its parts, run if it falls short; "" for none.
        reason: What the parts say.
    """

    key: str
    work: str
    alternative: str
    aim: float
    ours: str
    theirs: str
    side: str = "pytorch"
    own: str = "ours"
    share: float = 1.0
    unit: str = "ms"
    compare: Callable[[Answer, Answer], tuple[str, bool]] | None = None
    parts: tuple[str, str] = ("", "")
    reason: str = ""


def same_answers(ours: Answer, theirs: Answer) -> tuple[str, bool]:
    """Compare probabilities of the same pairs, by the tolerance of an export's eight bits."""
    assert ours.answer is not None
    assert theirs.answer is not None
    same = float((ours.answer.argmax(1) == theirs.answer.argmax(1)).mean())
    difference = float(np.abs(ours.answer - theirs.answer).mean())
    report = f"{same:.0%} same answers, mean difference {difference:.3f}"
    return report, same >= EIGHT_BITS.agreement and difference <= (EIGHT_BITS.mean_difference or 0)


def same_flow(ours: Answer, theirs: Answer) -> tuple[str, bool]:
    """Compare flow fields of the same pairs."""
    assert ours.answer is not None
    assert theirs.answer is not None
    error = float(np.linalg.norm(ours.answer - theirs.answer, axis=-1).mean())
    return f"mean difference {error:.1e} px", error < 1e-4


def same_accuracy(ours: Answer, theirs: Answer) -> tuple[str, bool]:
    """Compare the share of right answers."""
    assert ours.value is not None
    assert theirs.value is not None
    return f"accuracy {ours.value:.3f} and {theirs.value:.3f}", ours.value > theirs.value - 0.03


def same_number(ours: Answer, theirs: Answer) -> tuple[str, bool]:
    """Compare how many clips were done."""
    return f"{ours.value:.0f} and {theirs.value:.0f} clips", ours.value == theirs.value


def same_brightness(ours: Answer, theirs: Answer) -> tuple[str, bool]:
    """Compare the mean of what was read."""
    assert ours.value is not None
    assert theirs.value is not None
    report = f"mean gray level {ours.value:.2f} and {theirs.value:.2f}"
    return report, abs(ours.value - theirs.value) < 0.5


EAGER = "PyTorch eager"
NAMES = {"flow": "flow", "siamese": "Siamese"}
PAIR = {
    "flow": (f"OpenCV + ResNet50, {EAGER}", 3.0),
    "siamese": (f"ResNet50 twice, {EAGER}", 6.0),
}
WIDE = "convolutions are float32 on both sides; the aim takes eight bits"
SMALL = "eight bits make the network only this much faster"
PASSES = "each operator of the flow is a pass over memory; OpenCV joins many of them in one loop"
STEP = "convolutions and their gradients are most of a step"
FOLDS = "operators, which both sides run, are most of what is left"
READING = "frames are resized with antialiasing, which theirs leaves out, and decoding is slower"


def all_rows() -> list[Row]:
    """List every comparison."""
    rows = []
    for arch, (alternative, aim) in PAIR.items():
        for form in NUMBER_FORMATS:
            work = f"answer for a pair, {NAMES[arch]}, {form} file"
            tasks = f"pair {arch} {form}", f"pair {arch}"
            why = WIDE if form in ("float32", "float16") else SMALL
            parts = f"pair_parts {arch}", f"pair_parts {arch}"
            named = f"pair_{arch}_{form}", work, alternative, aim
            rows.append(Row(*named, *tasks, compare=same_answers, parts=parts, reason=why))
    for arch in PAIR:
        work = f"size of the int8 file, {NAMES[arch]}"
        tasks = f"size {arch} int8", f"size {arch}"
        rows.append(Row(f"size_{arch}", work, "float32 checkpoint", 3.8, *tasks, unit="MB"))
    for arch in PAIR:
        work = f"64 pairs at once, {NAMES[arch]}, SavedModel"
        tasks = f"batch {arch}", f"batch {arch}"
        named = f"batch_{arch}", work, EAGER, 2.0
        why = PASSES if arch == "flow" else "convolutions are float32 on both sides"
        parts = f"batch_parts {arch}", f"batch_parts {arch}"
        rows.append(Row(*named, *tasks, share=0.6, compare=same_answers, parts=parts, reason=why))
    for arch, batch in (("flow", "10"), ("siamese", "6")):
        work = f"training step at 224, {NAMES[arch]}, {batch} clips"
        task = f"train {arch} {batch}"
        named = f"train_{arch}", work, f"{EAGER}, Adam", 1.4
        parts = f"train_parts {arch} {batch}", f"train_parts {arch} {batch}"
        rows.append(Row(*named, task, task, share=0.6, parts=parts, reason=STEP))
    return [
        *rows,
        Row(
            *("flow", "flow alone, LiteRT, two threads", "OpenCV", 1, "flow", "flow"),
            compare=same_flow,
            parts=("flow_parts", "flow_parts"),
            reason=PASSES,
        ),
        Row(
            *("loso", "LOSO, 26 folds, STSTNet", "PyTorch, fold after fold", 2, "loso", "loso"),
            own="folds",
            share=0.4,
            unit="s",
            compare=same_accuracy,
        ),
        Row(
            *("loso_fresh", "LOSO, 26 folds, STSTNet", "a fresh Keras model a fold"),
            *(10, "loso", "loso_fresh"),
            side="folds",
            own="folds",
            share=0.4,
            unit="s",
            compare=same_accuracy,
            parts=("loso_parts", "loso_fresh_parts"),
            reason=FOLDS,
        ),
        Row(
            *("prepare", "prepare 254 clips", "a detector built for each image"),
            *(10, "prepare", "prepare_each_frame"),
            side="ours",
            share=0.6,
            unit="s",
            compare=same_number,
        ),
        Row(
            *("read", "read the built data set at 224 again", "JPEGs by OpenCV in a DataLoader"),
            *(1.5, "read", "read"),
            compare=same_brightness,
            parts=("read_parts", "read_parts"),
            reason=READING,
        ),
    ]


def make_environment(folder: Path) -> Path:
    """Make the other side's environment if it is missing; return its interpreter."""
    python = folder / "venv" / "bin" / "python"
    done = folder / "venv" / PYTORCH
    if not done.exists():
        print(f"making an environment with {PYTORCH}", file=sys.stderr)
        venv.create(folder / "venv", with_pip=True, clear=True)
        opencv = f"opencv-contrib-python=={version('opencv-contrib-python')}"
        install = [str(python), "-m", "pip", "install", "--quiet", PYTORCH, opencv, "numpy"]
        subprocess.run(install, check=True)
        done.touch()
    return python


def make_data(folder: Path) -> None:
    """Draw the clips and make the models if they are missing."""
    script = SCRIPTS / "drawn_data.py"
    subprocess.run([sys.executable, str(script), str(folder)], check=True)


def measure(row: Row, workers: Mapping[str, Worker], rounds: int) -> dict[str, object]:
    """Time both sides of a row in turns.

    Args:
        row: What to measure.
        workers: The sides by name.
        rounds: How often.

    Returns:
        Seconds of both (or MB), ratios of all rounds, and how far the answers agree.
    """
    ours, theirs = workers[row.own](row.ours), workers[row.side](row.theirs)
    agreement, agrees = row.compare(ours, theirs) if row.compare else ("", True)
    if row.unit == "MB":
        assert ours.value is not None
        assert theirs.value is not None
        figures = [(ours.value / 1e6, theirs.value / 1e6)]
    else:
        figures = [
            (workers[row.own](row.ours).seconds, workers[row.side](row.theirs).seconds)
            for _ in range(max(2, round(rounds * row.share)))
        ]
    own, other = zip(*figures, strict=True)
    ratios = [b / a for a, b in figures]
    ratio = float(np.median(ratios))
    return {
        "work": row.work,
        "alternative": row.alternative,
        "aim": row.aim,
        "unit": row.unit,
        "ours": own,
        "theirs": other,
        "ratios": ratios,
        "ratio": ratio,
        "agreement": agreement,
        "agrees": agrees,
        "reason": row.reason,
        "parts": {} if ratio >= row.aim else measure_parts(row, workers, rounds),
    }


def measure_parts(
    row: Row, workers: Mapping[str, Worker], rounds: int
) -> dict[str, dict[str, float]]:
    """Time the parts of a row in turns; return the median seconds of each, by side and name."""
    sides = {"ours": (workers[row.own], row.parts[0]), "theirs": (workers[row.side], row.parts[1])}
    tasks = {side: (worker, task) for side, (worker, task) in sides.items() if task}
    found: dict[str, list[dict[str, float]]] = {side: [] for side in tasks}
    for number in range(max(3, round(rounds * row.share)) + 1):
        for side, (worker, task) in tasks.items():
            parts = worker(task).parts
            assert parts is not None
            if number:  # the first is not counted
                found[side].append(parts)
    return {
        side: {name: float(np.median([parts[name] for parts in each])) for name in each[0]}
        for side, each in found.items()
    }


def measure_start() -> dict[str, dict[str, object]]:
    """Time the import of the package and the help of the command, in processes of their own."""
    code = "import time; t = time.perf_counter(); import casme_tf; print(time.perf_counter() - t)"
    program = str(Path(sys.executable).with_name("casme-tf"))
    imports, helps = [], []
    for _ in range(6):
        printed = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
        imports.append(float(printed.stdout))
        start = time.perf_counter()
        subprocess.run([program, "--help"], check=True, capture_output=True)
        helps.append(time.perf_counter() - start)
    return {
        "import": {"work": "import casme_tf", "aim_seconds": 0.3, "seconds": imports[1:]},
        "help": {"work": "casme-tf --help", "aim_seconds": 1.0, "seconds": helps[1:]},
    }


class Done:
    """Rows that are measured already, kept in a file in case of an interruption.

    Args:
        path: The file.
        settings: What figures depend on; rows of other settings are forgotten.
    """

    def __init__(self, path: Path, settings: dict[str, object]) -> None:
        self._path, self._settings = path, settings
        self.rows: dict[str, dict[str, object]] = {}
        if path.exists():
            kept = json.loads(path.read_text())
            if kept["settings"] == settings:
                self.rows = kept["rows"]

    def add(self, key: str, row: dict[str, object]) -> None:
        """Keep a row."""
        self.rows[key] = row
        with atomic_file(self._path) as temporary:
            kept = {"settings": self._settings, "rows": self.rows}
            temporary.write_text(json.dumps(kept, indent=2) + "\n")

    def forget(self) -> None:
        """Let the next run measure everything again."""
        self._path.unlink(missing_ok=True)


def _versions() -> dict[str, str]:
    packages = ("tensorflow", "keras", "ai-edge-litert", "opencv-contrib-python")
    return {name: version(name) for name in packages} | {"pytorch": PYTORCH}


def main(arguments: Arguments) -> None:
    """Measure everything, print it, and write it down."""
    if importlib.util.find_spec("torch") is not None:
        print("note: PyTorch is in this environment too; it is not used", file=sys.stderr)
    folder = arguments.folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    python = make_environment(folder)
    make_data(folder)
    chosen = [row for row in all_rows() if not arguments.rows or row.key in arguments.rows]
    os.environ.pop("TF_NUM_INTRAOP_THREADS", None)
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")  # as the commands do
    ours = Path(sys.executable), SCRIPTS / "ours_parts.py", folder
    workers = {
        "pytorch": Worker(python, SCRIPTS / "pytorch_side.py", folder),
        "ours": Worker(*ours),
        "folds": Worker(*ours, {"TF_NUM_INTRAOP_THREADS": "1"}),  # as the verb crossval
    }
    rows = {}
    done = Done(folder / "rows.partial.json", {"rounds": arguments.rounds, "versions": _versions()})
    for row in progress(chosen, desc="Measuring", unit="row"):
        print(f"\n{row.work} against {row.alternative}", file=sys.stderr)
        if row.key not in done.rows:
            done.add(row.key, measure(row, workers, arguments.rounds))
        rows[row.key] = done.rows[row.key]
    for worker in workers.values():
        worker.close()
    starts = {} if arguments.rows else measure_start()
    costs = [] if arguments.rows else measure_growth(folder)
    print(f"{processor()}, {os.cpu_count()} cores")
    print(describe(rows, starts))
    if costs:
        print(f"\n{describe_growth(costs)}")
    report = {
        "rows": rows,
        "starts": starts,
        "growth": [asdict(cost) for cost in costs],
        "machine": {"cores": os.cpu_count(), "processor": processor()},
        "versions": _versions(),
    }
    (folder / "benchmarks.json").write_text(json.dumps(report, indent=2) + "\n")
    if not arguments.rows:
        done.forget()
    draw(rows, costs, folder / "benchmarks.png")
    print(f"\n{folder / 'benchmarks.json'}\n{folder / 'benchmarks.png'}")


if __name__ == "__main__":
    main(tyro.cli(Arguments))
