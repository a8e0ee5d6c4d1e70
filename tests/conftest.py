"""Data that several tests share, made once for all workers: drawn, never licensed."""

import gc
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")  # as the commands do
# Workers and what they start share the cores; the order of sums, and so the last bits, is the same.
os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")

import pytest
from filelock import FileLock

collect_ignore = ["support"]  # helpers, no tests


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the demo first, and what needs the trained run first in the second half.

    Each of two workers begins with its half: one makes the demo, the other the run, and none waits.
    """
    names = {id(item): getattr(item, "fixturenames", ()) for item in items}
    modules = {item.module for item in items if "run" in names[id(item)]}
    demo = [item for item in items if "demo" in names[id(item)]]
    run = [i for i in items if getattr(i, "module", None) in modules and i not in demo]
    others = [item for item in items if item not in demo and item not in run]
    half = max(0, len(items) // 2 - len(demo))
    items[:] = [*demo, *others[:half], *run, *others[half:]]


def pytest_collection_finish() -> None:
    """Keep what was imported and collected out of each later search for garbage."""
    gc.collect()
    gc.freeze()


@pytest.fixture
def without_reports(monkeypatch) -> None:
    """Let `crossval` leave out report.html, which takes longer to draw than small folds to fit."""
    monkeypatch.setattr("casme_tf.evaluation.crossval.write_report", lambda *_, **__: None)


@pytest.fixture(scope="session")
def shared(tmp_path_factory) -> Callable[[str, Callable[[Path], object]], Path]:
    """Return a function that makes a named folder once, whichever worker comes first."""
    base = tmp_path_factory.getbasetemp()
    root = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base

    def make(name: str, fill: Callable[[Path], object]) -> Path:
        folder, done = root / name, root / f"{name}.done"
        with FileLock(root / f"{name}.lock"):
            if not done.exists():
                fill(folder)
                done.touch()
        return folder

    return make


@pytest.fixture(scope="session")
def corpus(shared) -> Path:
    """A stand-in corpus of 10 people with 60 clips."""
    from casme_tf.synthetic import synthesize

    return shared("corpus", lambda out: synthesize(out, subjects=10, clips=60, frames=4, seed=3))


@pytest.fixture(scope="session")
def prepared(shared, corpus) -> Path:
    """Its prepared pairs."""
    from casme_tf.datasets.prepare import prepare_dataset

    raw, coding = corpus / "CASME2-RAW", corpus / "CASME2-coding-stand-in.xlsx"
    return shared("prepared_dataset", lambda out: prepare_dataset(raw, coding, out))


@pytest.fixture(scope="session")
def data_dir(shared, prepared) -> Path:
    """The data set that the real `tfds build` makes of them."""

    def build(out: Path) -> None:
        tfds = Path(sys.executable).with_name("tfds")
        command = [tfds, "build", "casme2", "--imports", "casme_tf.datasets.casme2"]
        paths = ["--manual_dir", prepared, "--data_dir", out]
        subprocess.run([*command, *paths], check=True, capture_output=True)

    return shared("tfds", build)


@pytest.fixture(scope="session")
def run(shared, data_dir) -> Path:
    """A run of the flow architecture, trained for three epochs, exported and evaluated."""
    from casme_tf.evaluation.evaluate import evaluate
    from casme_tf.export.export import export_run
    from casme_tf.training.settings import TrainConfig
    from casme_tf.training.train import train

    def make(runs: Path) -> None:
        train(
            TrainConfig(
                arch="flow",
                run="shared",
                data_dir=data_dir,
                runs=runs,
                weights="none",
                choose_epoch=True,
                frame_size=64,
                network_size=32,
                epochs=3,
                batch_size=8,
                learning_rate=1e-3,
            )
        )
        # Three epochs may leave answers so close together that eight bits swap some of them.
        export_run("shared", runs=runs, calibration=10, accept=("dynamic", "int8"))
        evaluate("shared", runs=runs)

    return shared("runs", make) / "shared"
