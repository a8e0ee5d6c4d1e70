"""Training one fold: repeatable, resumable, and right about its own statistics."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

from casme_tf.datasets.pairs import load_pairs
from casme_tf.errors import UserError
from casme_tf.files import locked
from casme_tf.models.motion_net import drawn_file, read_weights
from casme_tf.training.settings import TrainConfig
from casme_tf.training.state import TrainingState
from casme_tf.training.train import train


@pytest.fixture
def quick(data_dir, tmp_path) -> TrainConfig:
    return TrainConfig(
        arch="flow",
        run="quick",
        data_dir=data_dir,
        runs=tmp_path,
        weights="none",
        frame_size=64,
        network_size=32,
        epochs=3,
        batch_size=8,
        learning_rate=1e-3,
    )


def answers(run, data_dir) -> np.ndarray:
    model = keras.models.load_model(run / "model.keras", compile=False)
    return model.predict(load_pairs(data_dir, 64).frames, verbose=0)


@pytest.mark.slow
def test_a_killed_training_goes_on_to_what_it_would_have_been(quick, data_dir):
    """Of the small architecture: how states are kept does not depend on which it is."""
    settings = replace(quick, arch="motion_net", network_size=None, epochs=8)
    whole = train(replace(settings, run="whole"))
    command = [sys.executable, "-m", "casme_tf", "train", "--arch", "motion_net", "--run", "killed"]
    options = {
        "data-dir": data_dir,
        "runs": quick.runs,
        "weights": "none",
        "frame-size": 64,
        "epochs": 8,
        "batch-size": 8,
        "learning-rate": 1e-3,
    }
    flags = [word for name, value in options.items() for word in (f"--{name}", str(value))]
    process = subprocess.Popen([*command, *flags], stderr=subprocess.DEVNULL)
    work = quick.runs / ".killed.training"
    deadline = time.monotonic() + 120
    while not list(work.glob("state-*")) and time.monotonic() < deadline:
        assert process.poll() is None
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert list(work.glob("state-*"))
    assert not (quick.runs / "killed").exists()

    # As an older version left it, which did not note the corpus.
    begun = json.loads((work / "config.json").read_text())
    assert begun["split"].pop("corpus") == "stand-in"
    (work / "config.json").write_text(json.dumps(begun))

    resumed = train(replace(settings, run="killed"))
    assert not work.exists()
    assert json.loads((resumed / "config.json").read_text())["split"]["corpus"] == "stand-in"
    history = pd.read_csv(resumed / "history.csv")
    assert history["epoch"].tolist() == list(range(8))
    pd.testing.assert_frame_equal(history, pd.read_csv(whole / "history.csv"))
    np.testing.assert_array_equal(answers(resumed, data_dir), answers(whole, data_dir))


def test_a_run_says_how_it_was_made(run):
    record = json.loads((run / "config.json").read_text())
    assert record["train"]["seed"] == 12
    assert record["train"]["network_size"] == 32
    assert record["classes"] == ["negative", "other", "positive", "surprise"]
    assert record["split"]["corpus"] == "stand-in"
    parts = {name: set(record["split"][name]["subjects"]) for name in ("train", "test")}
    assert not parts["train"] & parts["test"]
    assert record["versions"]["tensorflow"] == tf.__version__
    assert (run / "labels.txt").read_text().split() == record["classes"]
    split = pd.read_csv(run / "split.csv")
    assert set(split["part"]) == {"train", "validation", "test"}
    assert split.groupby("subject")["part"].nunique().max() == 1


def test_an_existing_run_is_refused_and_can_be_replaced(run, quick):
    config = replace(quick, run=run.name, runs=run.parent)
    with pytest.raises(UserError, match=r"exists.*--run.*--overwrite"):
        train(config)


def test_other_settings_do_not_go_on_with_an_interrupted_training(run, quick):
    work = quick.runs / ".quick.training"
    work.mkdir()
    record = json.loads((run / "config.json").read_text())
    record["train"] |= {"run": "quick", "runs": str(quick.runs)}
    (work / "config.json").write_text(json.dumps(record))
    with pytest.raises(UserError, match=r"other settings \(epochs\).*--overwrite"):
        train(replace(quick, epochs=5))
    assert (work / "config.json").exists()


def test_a_training_does_not_go_on_with_other_people(run, quick):
    """Else weights fitted on somebody could be tested on the same person."""
    work = quick.runs / ".quick.training"
    work.mkdir()
    record = json.loads((run / "config.json").read_text())
    record["train"] |= {"run": "quick", "runs": str(quick.runs)}
    (work / "config.json").write_text(json.dumps(record))
    split = (run / "split.csv").read_text()
    (work / "split.csv").write_text(split.replace(",test", ",train"))
    with pytest.raises(UserError, match="built anew since"):
        train(quick)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"epochs": 0}, "--epochs must be at least 1. Received: 0"),
        ({"batch_size": -1}, "--batch-size must be at least 1"),
        ({"seed": -1}, "--seed must be from 0 to"),
        ({"frame_size": 0}, "--frame-size must be from 64 to 512. Received: 0"),
        ({"dropout": 1.5}, "--dropout must be from 0 to"),
        ({"learning_rate": float("nan")}, "--learning-rate must be above 0 and below 1"),
        ({"learning_rate": 0.0}, "--learning-rate must be above 0 and below 1"),
        ({"run": "../elsewhere"}, "plain folder name"),
        ({"weights": "nowhere.h5"}, "nowhere.h5, which does not exist"),
        ({"network_size": 16}, "at least 32 px"),
        ({"arch": "motion_net"}, "--network-size of motion_net must be left at 28. Received: 32"),
    ],
)
def test_wrong_settings_are_refused_and_leave_nothing(quick, change, message):
    with pytest.raises(UserError, match=message):
        train(replace(quick, **change))
    assert not list(quick.runs.iterdir())


@pytest.mark.slow
def test_what_drawings_taught_motion_net_stays_in_its_convolutions(quick):
    config = replace(quick, arch="motion_net", network_size=None, weights="drawn", epochs=2)
    folder = train(replace(config, precision="mixed_bfloat16"))
    network = keras.models.load_model(folder / "model.keras", compile=False).get_layer("network")
    drawn = read_weights(drawn_file())
    for name in ("half", "narrow", "half_norm"):
        for variable in network.get_layer(name).weights:
            expected = drawn[f"{name}/{variable.name}"]
            np.testing.assert_allclose(variable, expected, rtol=1e-5, err_msg=variable.path)
    moved = np.abs(network.get_layer("embedding").kernel - drawn["embedding/kernel"]).max()
    assert 1e-4 < moved < 0.1


def test_a_data_set_that_is_not_built_is_named_with_its_command(quick, tmp_path):
    with pytest.raises(UserError, match=r"tfds build casme2 .*--data_dir"):
        train(replace(quick, data_dir=tmp_path / "nothing"))


def test_weights_of_another_architecture_are_refused(quick, tmp_path):
    other = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
    for name in ("other.weights.h5", "other.keras"):
        path = tmp_path / name
        other.save_weights(path) if name.endswith("h5") else other.save(path)
        with pytest.raises(UserError, match=f"{name}, which does not fit"):
            train(replace(quick, weights=str(path), overwrite=True))


def test_weights_of_an_earlier_run_are_taken_over(run):
    from casme_tf.models.backbone import resnet50_backbone

    trained = keras.models.load_model(run / "model.keras", compile=False)
    source = trained.get_layer("network").get_layer("backbone").get_layer("resnet50")
    taken = resnet50_backbone(48, str(run / "model.keras")).get_layer("resnet50")
    for theirs, ours in zip(source.get_weights(), taken.get_weights(), strict=True):
        np.testing.assert_array_equal(theirs, ours)


def test_without_internet_imagenet_weights_are_asked_for_by_name(quick, monkeypatch, tmp_path):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "home"))

    def refuse(*args, **kwargs):
        raise Exception("URL fetch failure on https://…")

    monkeypatch.setattr("keras.src.utils.file_utils.urlretrieve", refuse)
    with pytest.raises(UserError, match=r"Put resnet50_\w+notop.h5 into .*home/models"):
        train(replace(quick, weights="imagenet"))


def test_training_says_who_is_in_which_part_and_what_it_kept(quick, capsys):
    settings = replace(quick, arch="motion_net", network_size=None, epochs=1, weights=None)
    run = train(settings)
    told = capsys.readouterr().err
    assert "train: " in told
    assert "clips of" in told
    assert "kept epoch 1 of 1, with the lowest loss on validation" in told
    assert not [path.name for path in run.rglob(".*")]
    assert sorted(path.name for path in quick.runs.iterdir()) == ["quick"]


def test_what_a_killed_process_was_writing_is_not_published(tmp_path):
    kept = ["history.csv", "model.keras"]
    left = [".history.4242.tmp.csv", ".best.weights.4242.tmp.h5", "best.weights.h5"]
    for name in (*kept, *left, "state-00002.weights.h5"):
        (tmp_path / name).write_bytes(b"x")
    TrainingState.discard(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == kept


def test_two_trainings_of_one_run_do_not_meet(quick):
    with locked(quick.runs / "quick"), pytest.raises(UserError, match="one command at a time"):
        train(quick)
