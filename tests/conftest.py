"""Data that several tests share, made once a session: drawn, never licensed."""

import os
import subprocess
import sys
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import pytest


@pytest.fixture(scope="session")
def corpus(tmp_path_factory) -> Path:
    """A stand-in corpus of 6 people with 60 clips."""
    from casme_tf.synthetic import synthesize

    out = tmp_path_factory.mktemp("corpus") / "corpus"
    synthesize(out, subjects=6, clips=60, frames=4, seed=3)
    return out


@pytest.fixture(scope="session")
def prepared(corpus, tmp_path_factory) -> Path:
    """Its prepared pairs."""
    from casme_tf.prepare import prepare_dataset

    out = tmp_path_factory.mktemp("prepared") / "prepared_dataset"
    prepare_dataset(corpus / "CASME2-RAW", corpus / "CASME2-coding-stand-in.xlsx", out)
    return out


@pytest.fixture(scope="session")
def data_dir(prepared, tmp_path_factory) -> Path:
    """The data set that the real `tfds build` makes of them."""
    out = tmp_path_factory.mktemp("tfds")
    tfds = Path(sys.executable).with_name("tfds")
    command = [tfds, "build", "casme2", "--imports", "casme_tf.datasets.casme2"]
    paths = ["--manual_dir", prepared, "--data_dir", out]
    subprocess.run([*command, *paths], check=True, capture_output=True)
    return out


@pytest.fixture(scope="session")
def run(data_dir, tmp_path_factory) -> Path:
    """A run of the flow architecture, trained for three epochs, exported and evaluated."""
    from casme_tf.config import EvaluateConfig, ExportConfig, TrainConfig
    from casme_tf.evaluation import evaluate
    from casme_tf.export import export_run
    from casme_tf.training import train

    runs = tmp_path_factory.mktemp("runs")
    folder = train(
        TrainConfig(
            arch="flow",
            run="shared",
            data_dir=data_dir,
            runs=runs,
            weights="none",
            frame_size=64,
            network_size=32,
            epochs=3,
            batch_size=8,
            learning_rate=1e-3,
        )
    )
    export_run(ExportConfig(run="shared", runs=runs, calibration=10))
    evaluate(EvaluateConfig(run="shared", runs=runs))
    return folder
