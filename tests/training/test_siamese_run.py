"""The Siamese architecture through the same chain: the split that leaks, and bfloat16."""

import keras
import numpy as np
import pytest
from support.elsewhere import LITERT, SAVED_MODEL, answer_elsewhere

from casme_tf.evaluation.evaluate import evaluate
from casme_tf.export.artifacts import load_artifact
from casme_tf.export.export import export_run
from casme_tf.labels import CLASSES
from casme_tf.models import split_model
from casme_tf.runs import tflite_name
from casme_tf.training.settings import TrainConfig
from casme_tf.training.train import train


@pytest.mark.slow
def test_a_siamese_run_on_the_random_split_is_marked_as_leaking_and_served(data_dir, tmp_path):
    settings = TrainConfig(
        arch="siamese",
        data_dir=data_dir,
        runs=tmp_path,
        split="random",
        weights="none",
        backbone="trained",
        choose_epoch=True,
        frame_size=64,
        network_size=32,
        epochs=1,
        batch_size=16,
        precision="mixed_bfloat16",
        seed=0,
    )
    folder = train(settings)
    network = split_model(keras.models.load_model(folder / "model.keras", compile=False))[2]
    assert {layer.compute_dtype for layer in network._flatten_layers()} == {"float32"}
    forms = ("float32", "int8")
    export_run("siamese", runs=tmp_path, calibration=5, formats=forms, accept=("int8",))
    done = evaluate(run="siamese", runs=tmp_path, resamples=50)
    assert done.metrics["protocol"] == "random"
    assert "subjects are in both" in done.metrics["leak"]
    assert done.metrics["epoch_chosen_on"] == "the test clips"
    assert "LEAKS" in done.describe()
    again = evaluate(model=folder / "model_float32.tflite", resamples=50)
    np.testing.assert_allclose(
        again.predictions[list(CLASSES)], done.predictions[list(CLASSES)], atol=1e-3
    )
    frames = {name: array[:3] for name, array in done.frames.items()}
    swapped = {"onset": frames["apex"], "apex": frames["onset"]}
    for name in map(tflite_name, forms):
        artifact = load_artifact(folder / name)
        answer = artifact(frames)
        assert np.abs(artifact(swapped) - answer).max() > 1e-4
        elsewhere = answer_elsewhere(LITERT, folder / name, frames, tmp_path)
        np.testing.assert_allclose(elsewhere, answer, atol=1e-5)
    for served in answer_elsewhere(SAVED_MODEL, folder / "saved_model" / "1", frames, tmp_path):
        np.testing.assert_allclose(served, done.predictions[list(CLASSES)][:3], atol=1e-3)
