"""What both sides of `benchmark.py` work on: drawn clips, and models with the same weights.

    python scripts/benchmarks/drawn_data.py build/benchmark

The flow model is trained for some epochs; the Siamese one takes over its backbone, and the layers
after it are trained on all clips. They are models whose answers differ from clip to clip, without
ImageNet's weights, and nothing more.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np

from casme_tf.datasets.pairs import Pairs, load_pairs
from casme_tf.datasets.prepare import prepare_dataset
from casme_tf.export.conversion import convert_tflite, export_saved_model
from casme_tf.labels import CLASSES
from casme_tf.models import siamese_classifier, split_model
from casme_tf.models.resnet50 import siamese_head
from casme_tf.runs import MODEL
from casme_tf.synthetic import synthesize
from casme_tf.tflite_file import add_metadata
from casme_tf.training.inputs import ClipInputs
from casme_tf.training.keras_learner import KerasLearner
from casme_tf.training.settings import TrainConfig
from casme_tf.training.train import train

SIZE, SEED = 224, 31


def make_data(folder: Path) -> None:
    """Make everything that is missing in the folder."""
    done = folder / "data.done"
    if done.exists():
        return
    corpus, prepared, built = (folder / name for name in ("corpus", "prepared", "tfds"))
    if not corpus.exists():
        synthesize(corpus, subjects=26, clips=255, frames=5, seed=SEED)
    prepare_dataset(corpus / "CASME2-RAW", corpus / "CASME2-coding-stand-in.xlsx", prepared)
    tfds = Path(sys.executable).with_name("tfds")
    subprocess.run(
        [
            *(tfds, "build", "casme2", "--imports", "casme_tf.datasets.casme2"),
            *("--manual_dir", prepared, "--data_dir", built, "--overwrite"),
        ],
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    pairs = load_pairs(built, SIZE)
    np.savez(folder / "pairs.npz", allow_pickle=False, labels=pairs.labels, **pairs.frames)
    inputs = ClipInputs(pairs.frames, weights="none", workers=2)
    subjects = pairs.clips["subject"].to_numpy(str)
    motion = inputs.uv_strain["motion"]
    np.savez(folder / "motion.npz", motion=motion, labels=pairs.labels, subjects=subjects)
    calibration = {name: frames[::4] for name, frames in pairs.frames.items()}
    for arch, model in (("flow", flow_model(folder)), ("siamese", siamese_model(pairs, folder))):
        write_weights(split_model(model)[2], folder / f"{arch}.npz")
        for form, content in convert_tflite(model, calibration):
            described = add_metadata(content, list(CLASSES), name=arch, description="for timing")
            (folder / f"{arch}_{form}.tflite").write_bytes(described)
        (folder / arch / "1").mkdir(parents=True, exist_ok=True)
        export_saved_model(model, folder / arch / "1", CLASSES)
    done.touch()


def flow_model(folder: Path) -> keras.Model:
    """Train the flow architecture from random weights; return it."""
    config = TrainConfig(
        arch="flow",
        data_dir=folder / "tfds",
        runs=folder / "runs",
        weights="none",
        batch_size=16,
        learning_rate=3e-4,
        dropout=0.1,
        epochs=12,
        backbone="trained",
    )
    run = folder / "runs" / config.arch
    return keras.models.load_model((run if run.exists() else train(config)) / MODEL, compile=False)


def siamese_model(pairs: Pairs, folder: Path) -> keras.Model:
    """Train the layers after the flow model's backbone on differences of frames."""
    model = siamese_classifier(
        frame_size=SIZE,
        network_size=SIZE,
        classes=len(CLASSES),
        weights=str(folder / "runs" / "flow" / MODEL),
        dropout=0.25,
    )
    network = split_model(model)[2]
    backbone = find_layer(network, "backbone")
    features = {
        name: backbone.predict(frames.astype(np.float32), batch_size=16, verbose=0)
        for name, frames in pairs.frames.items()
    }
    learner = KerasLearner(
        siamese_head, classes=len(CLASSES), epochs=60, batch_size=32, learning_rate=3e-4
    )
    learner.fit(features, pairs.labels, validation=None, seed=0)
    find_layer(network, "head").set_weights(learner.model.get_weights())
    return model


def write_weights(network: keras.Model, path: Path) -> None:
    """Write a network's weights by the names of its layers."""
    weights = {
        f"{layer.name}/{weight.name}": weight.numpy()
        for layer in network._flatten_layers()
        for weight in layer.weights
        if not isinstance(layer, keras.Model)
    }
    np.savez(path, allow_pickle=False, **weights)


def find_layer(model: keras.Model, name: str) -> keras.layers.Layer:
    """Return the layer of that name, however deep it lies."""
    return next(layer for layer in model._flatten_layers() if layer.name == name)


if __name__ == "__main__":
    make_data(Path(sys.argv[1]))
