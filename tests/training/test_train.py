"""Training one fold: repeatable, resumable, and right about its own statistics."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

from casme_tf.datasets.pairs import load_pairs
from casme_tf.errors import UserError
from casme_tf.evaluation.evaluate import evaluate
from casme_tf.files import locked
from casme_tf.models.motion_net import drawn_file, read_weights
from casme_tf.models.resnet50 import resnet50_backbone
from casme_tf.training.settings import TrainConfig
from casme_tf.training.train import train


def quick_in(runs: Path, data_dir: Path) -> TrainConfig:
    return TrainConfig(
        arch="motion_net",
        run="quick",
        data_dir=data_dir,
        runs=runs,
        weights="none",
        frame_size=64,
        epochs=3,
        batch_size=8,
        learning_rate=1e-3,
    )


@pytest.fixture
def quick(data_dir, tmp_path) -> TrainConfig:
    return quick_in(tmp_path, data_dir)


@pytest.fixture(scope="module")
def once_trained(data_dir, tmp_path_factory) -> Path:
    return train(quick_in(tmp_path_factory.mktemp("once"), data_dir))


@pytest.fixture
def trained(quick, once_trained) -> Path:
    """The run that `quick` trains, as if it had just been trained."""
    return shutil.copytree(once_trained, quick.runs / "quick")


def answers(run, data_dir) -> np.ndarray:
    model = keras.models.load_model(run / "model.keras", compile=False)
    return model.predict(load_pairs(data_dir, 64).frames, verbose=0)


@pytest.mark.slow
def test_a_killed_training_goes_on_to_what_it_would_have_been(quick, data_dir):
    settings = replace(quick, epochs=300)
    whole = train(replace(settings, run="whole"))
    command = [sys.executable, "-m", "casme_tf", "train", "--arch", "motion_net", "--run", "killed"]
    options = {
        "data-dir": data_dir,
        "runs": quick.runs,
        "weights": "none",
        "frame-size": 64,
        "epochs": 300,
        "batch-size": 8,
        "learning-rate": 1e-3,
    }
    flags = [word for name, value in options.items() for word in (f"--{name}", str(value))]
    process = subprocess.Popen([*command, *flags], stderr=subprocess.DEVNULL)
    work = quick.runs / ".killed.work"
    deadline = time.monotonic() + 120
    while not (work / "state.npz").exists() and time.monotonic() < deadline:
        assert process.poll() is None
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert (work / "state.npz").exists()
    assert not (quick.runs / "killed").exists()

    resumed = train(replace(settings, run="killed"))
    assert not work.exists()
    assert json.loads((resumed / "config.json").read_text())["split"]["corpus"] == "stand-in"
    history = pd.read_csv(resumed / "history.csv")
    assert history["epoch"].tolist() == list(range(300))
    pd.testing.assert_frame_equal(history, pd.read_csv(whole / "history.csv"))
    np.testing.assert_array_equal(answers(resumed, data_dir), answers(whole, data_dir))


def test_a_run_says_how_it_was_made(run):
    record = json.loads((run / "config.json").read_text())
    assert record["train"]["seed"] == 12
    assert record["train"]["network_size"] == 32
    assert record["classes"] == ["negative", "other", "positive", "surprise"]
    assert record["split"]["corpus"] == "stand-in"
    parts = {name: set(each["subjects"]) for name, each in record["split"]["parts"].items()}
    assert not parts["train"] & parts["test"]
    assert record["versions"]["tensorflow"] == tf.__version__
    assert (run / "labels.txt").read_text().split() == record["classes"]
    split = pd.read_csv(run / "split.csv")
    assert set(split["part"]) == {"train", "validation", "test"}
    assert split.groupby("subject")["part"].nunique().max() == 1


def test_a_run_is_kept_for_the_same_settings_and_refused_for_others(quick, trained, capsys):
    first = trained
    weights = (first / "model.keras").read_bytes()
    assert train(quick) == first
    assert "quick: kept, with the same settings" in capsys.readouterr().err
    with pytest.raises(UserError, match=r"differs in epochs.*--run.*--overwrite"):
        train(replace(quick, epochs=2))
    assert (first / "model.keras").read_bytes() == weights
    train(replace(quick, epochs=2, overwrite=True))
    assert len(pd.read_csv(first / "history.csv")) == 2
    assert not [path for path in quick.runs.iterdir() if path != first]


@pytest.mark.parametrize(
    ("part", "change", "message"),
    [("train", {"epochs": 5}, "epochs"), ("split", {"data": "of other frames"}, "data")],
)
def test_an_interrupted_training_is_continued_with_its_own_settings_only(
    quick, trained, part, change, message
):
    record = json.loads((trained / "config.json").read_text())
    record[part] |= change
    trained.rename(quick.runs / ".quick.work")
    (quick.runs / ".quick.work" / "config.json").write_text(json.dumps(record))
    with pytest.raises(UserError, match=rf"other settings \({message}\).*--overwrite"):
        train(quick)
    assert (quick.runs / ".quick.work" / "config.json").exists()


def test_all_subjects_train_and_nothing_is_left_to_test(quick, data_dir):
    run = train(replace(quick, split="all", scheme="megc3"))
    assert set(pd.read_csv(run / "split.csv")["part"]) == {"train"}
    assert (run / "labels.txt").read_text().split() == ["negative", "positive", "surprise"]
    with pytest.raises(UserError, match="--part test, which has none"):
        evaluate("quick", runs=quick.runs)
    done = evaluate("quick", runs=quick.runs, part="train", resamples=50)
    assert list(done.metrics["classes"]) == ["negative", "positive", "surprise"]
    assert 0 < len(done.predictions) < len(load_pairs(data_dir, 64))
    with pytest.raises(UserError, match="--choose-epoch needs subjects that do not train"):
        train(replace(quick, run="other", split="all", choose_epoch=True))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"epochs": 0}, "--epochs must be at least 1. Received: 0"),
        ({"batch_size": -1}, "--batch-size must be at least 1"),
        ({"seed": -1}, "--seed must be from 0 to"),
        ({"frame_size": 0}, "--frame-size must be from 64 to 512. Received: 0"),
        ({"dropout": 1.5}, "--dropout must be from 0 to"),
        ({"learning_rate": float("nan")}, "--learning-rate must be from 1e-12 to 10"),
        ({"learning_rate": 0.0}, "--learning-rate must be from 1e-12 to 10"),
        ({"run": "../elsewhere"}, "plain folder name"),
        ({"weights": "nowhere.h5"}, "nowhere.h5, which does not exist"),
        ({"arch": "flow", "weights": "drawn"}, "must be 'imagenet', 'none' or the path"),
        ({"arch": "kernel", "choose_epoch": True}, "without epochs. Received: .*--choose-epoch"),
        ({"network_size": 16}, "--network-size must be from 32 to 512"),
    ],
)
def test_wrong_settings_are_refused_and_leave_nothing(quick, change, message):
    with pytest.raises(UserError, match=message):
        train(replace(quick, **change))
    assert not list(quick.runs.iterdir())


@pytest.mark.slow
def test_what_drawings_taught_motion_net_stays_in_its_convolutions(quick):
    folder = train(replace(quick, weights="drawn", epochs=2))
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


def test_weights_of_another_architecture_are_refused(tmp_path):
    other = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
    for name in ("other.weights.h5", "other.keras"):
        path = tmp_path / name
        other.save_weights(path) if name.endswith("h5") else other.save(path)
        with pytest.raises(UserError, match=f"{name}, which does not fit"):
            resnet50_backbone(32, str(path))


def test_weights_of_an_earlier_run_are_taken_over(run):
    trained = keras.models.load_model(run / "model.keras", compile=False)
    source = trained.get_layer("network").get_layer("backbone").get_layer("resnet50")
    taken = resnet50_backbone(48, str(run / "model.keras")).get_layer("resnet50")
    for theirs, ours in zip(source.get_weights(), taken.get_weights(), strict=True):
        np.testing.assert_array_equal(theirs, ours)


def test_without_internet_imagenet_weights_are_asked_for_by_name(monkeypatch, tmp_path):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "home"))

    def refuse(*args, **kwargs):
        raise Exception("URL fetch failure on https://…")

    monkeypatch.setattr("keras.src.utils.file_utils.urlretrieve", refuse)
    with pytest.raises(UserError, match=r"Put resnet50_\w+notop.h5 into .*home/models"):
        resnet50_backbone(32, "imagenet")


def test_training_says_who_is_in_which_part_and_what_it_kept(quick, capsys):
    settings = replace(quick, epochs=1, weights=None, choose_epoch=True)
    run = train(settings)
    told = capsys.readouterr().err
    assert "train: " in told
    assert "clips of" in told
    assert "kept epoch 1 of 1, with the lowest loss on validation" in told
    assert not [path.name for path in run.rglob(".*")]
    assert sorted(path.name for path in quick.runs.iterdir()) == ["quick"]


def test_two_trainings_of_one_run_do_not_meet(quick):
    with locked(quick.runs / "quick"), pytest.raises(UserError, match="one command at a time"):
        train(quick)
