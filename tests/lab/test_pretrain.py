"""From a seed to weights: always the same ones, and what they are measured on."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from support.motion_images import write_motion_images

from casme_tf.errors import UserError
from casme_tf.labels import FOUR, MEGC3
from casme_tf.models.motion_net import drawn_file, read_training
from scripts.lab import pretrain as pretraining
from scripts.lab.disturbances import DISTURBANCES, WITHOUT_EXPRESSION
from scripts.lab.drawn_batches import targets, training_batches
from scripts.lab.drawn_card import render_drawn_card
from scripts.lab.fields import DRAWN_EMOTIONS, Ingredients, MotionFields, draw_fields
from scripts.lab.measure_pretrained import MeasurePretrainedConfig, measure_pretrained, measure_real
from scripts.lab.pretrain import PretrainConfig, class_loss, pretrain, without


@pytest.fixture
def quick(tmp_path, monkeypatch) -> PretrainConfig:
    monkeypatch.setattr(pretraining, "HELD_OUT", 128)
    return PretrainConfig(tmp_path / "first", seed=5, steps=3, batch_size=32, painted=16)


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.slow
def test_a_seed_gives_the_same_bytes(quick, tmp_path):
    first = pretrain(quick)
    again = pretrain(replace(quick, out=tmp_path / "again"))
    assert files_of(first) == files_of(again)
    assert set(files_of(first)) == {"weights.npz", "training.json", "model_card.md"}
    record = json.loads((first / "training.json").read_text())
    assert record["painted_pairs"] == 16
    assert all(record["ingredients"].values())
    left_out = {**record, "ingredients": asdict(without(("farneback", "lids")))}
    assert "lids, farneback" in render_drawn_card(left_out)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"without": ("spice",)}, "Received: spice"),
        ({"steps": 0}, "--steps must be from 1"),
        ({"seed": -1}, "--seed must be from 0"),
        ({"learning_rate": 2.0}, "below 1"),
    ],
)
def test_what_cannot_be_is_refused(quick, change, message):
    with pytest.raises(UserError, match=message):
        pretrain(replace(quick, **change))
    assert not quick.out.exists()


def test_an_existing_folder_is_not_touched(quick):
    quick.out.mkdir()
    with pytest.raises(UserError, match="must not exist yet"):
        pretrain(quick)


def test_batches_depend_on_their_number_alone():
    bank = draw_fields(8, np.random.default_rng(9))
    few, many = (list(training_batches(n, 16, bank, 3, Ingredients())) for n in (2, 5))
    for (motion, truth), (again, same) in zip(few, many, strict=False):
        np.testing.assert_array_equal(motion, again)
        for name in truth:
            np.testing.assert_array_equal(truth[name], same[name])
    assert np.abs(few[0][0] - few[1][0]).max() > 0.1
    assert len(many) == 5


def test_targets_are_those_of_the_schemes():
    emotions = np.array([DRAWN_EMOTIONS.index(x) for x in ("surprise", "others", "anger")] + [-1])
    fields = MotionFields(np.zeros((4, 28, 28, 3)), emotions, np.eye(4, 17, dtype="f4"))
    found = targets(fields)
    four = [FOUR.classes[int(row.argmax())] if row.any() else None for row in found["four"]]
    assert four == ["surprise", "other", "negative", None]
    three = [MEGC3.classes[int(row.argmax())] if row.any() else None for row in found["megc3"]]
    assert three == ["surprise", None, "negative", None]
    assert found["expression"][:, 0].tolist() == [1, 1, 1, 0]


@pytest.mark.slow
def test_fields_without_a_class_teach_nothing_about_classes():
    """Neither their loss nor its gradient; TensorFlow's own cross-entropy gives them one."""
    logits = tf.Variable(np.random.default_rng(0).normal(size=(3, 4)), dtype=tf.float32)
    truth = tf.constant([[0.0, 1, 0, 0], [0, 0, 0, 0], [0, 0, 0, 1]])
    with tf.GradientTape() as tape:
        loss = class_loss(truth, logits)
    gradient = tape.gradient(loss, logits).numpy()
    expected = (tf.nn.softmax(logits) - truth).numpy() * [[1], [0], [1]]
    np.testing.assert_allclose(gradient, expected, atol=1e-6)
    right = keras.losses.categorical_crossentropy(truth, logits, from_logits=True)
    np.testing.assert_allclose(loss.numpy(), right.numpy(), atol=1e-6)


def test_the_recognizer_is_measured_on_real_clips_too(tmp_path):
    folder = write_motion_images(tmp_path / "published")
    real = measure_real(folder, drawn_file())
    assert (real["clips"], real["subjects"], real["databases"]) == (36, 6, ["samm", "smic"])
    assert 0 <= real["clear_right"] <= 1
    assert real["coverage"][0]["clips"] == 36
    measured = json.loads(drawn_file().with_name("measurements.json").read_text()) | {"real": real}
    card = render_drawn_card(read_training(drawn_file()), measured)
    assert "36 clips of 6" in card
    assert f"{real['figures']['uf1']['model']:.3f}" in card


def test_the_recognizer_is_measured_on_a_corpus(corpus, tmp_path, monkeypatch):
    """Two rendered clips, disturbed in every way, each by two amounts at most."""
    few = {name: (make, amounts[:2], unit) for name, (make, amounts, unit) in DISTURBANCES.items()}
    monkeypatch.setattr("scripts.lab.measure_pretrained.DISTURBANCES", few)
    out = tmp_path / "measured"
    measured = measure_pretrained(MeasurePretrainedConfig(corpus, out=out, limit=2))
    table = measured.sensitivity.set_index(["scheme", "disturbance", "amount"])
    amounts = sum(len(entry[1]) for entry in few.values())
    assert len(table) == 2 * amounts
    rows = table.loc["four"]
    assert rows.loc[("mirrored", 1.0), "same answer"] == 1
    assert rows.loc[("mirrored", 1.0), "confidence"] == pytest.approx(
        rows.loc[("as it is", 0.0), "confidence"], abs=0.05
    )
    for name in WITHOUT_EXPRESSION:
        assert np.isnan(rows.loc[name]["accuracy"]).all()
    assert rows.loc[("no motion", 0.0), "called clear"] == 0
    assert rows.loc[("as it is", 0.0), "confidence"] > rows.loc[("no motion", 1.0), "confidence"]
    assert measured.figures["four"]["clips"] == 2
    assert "2 stand-in clips" in measured.describe()
    record = json.loads((out / "measurements.json").read_text())
    assert record["corpus"]["seed"] == 3
    assert (out / "sensitivity.png").stat().st_size > 10_000
    assert "| mirrored " in (out / "model_card.md").read_text()


@pytest.mark.slow
def test_a_card_without_figures_says_so(quick):
    card = render_drawn_card(json.loads((pretrain(quick) / "training.json").read_text()))
    assert "Nothing yet" in card
    assert "learned from drawings" in card


def test_what_is_no_corpus_cannot_be_measured(tmp_path):
    with pytest.raises(UserError, match=r"corpus\.json"):
        measure_pretrained(MeasurePretrainedConfig(tmp_path, out=tmp_path / "out"))
    assert not (tmp_path / "out").exists()
