"""The recognizer that comes with this package, on a photograph moved by drawn action units."""

from __future__ import annotations

import json
import shutil
from importlib.resources import files

import cv2
import keras
import numpy as np
import pytest
import skimage.data

from casme_tf.clips.detector import Box
from casme_tf.errors import UserError
from casme_tf.export.artifacts import RECOGNIZER, ShippedArtifact
from casme_tf.labels import ACTION_UNITS, BLINK, SCHEMES
from casme_tf.layers import NormalizeMotion, UVStrain
from casme_tf.models import ARCHITECTURES, motion_net
from casme_tf.models.motion_net import TRAINING, WEIGHTS, drawn_file, read_weights
from casme_tf.training.inputs import mirror_flow
from scripts.lab.fields import Ingredients, draw_fields
from scripts.lab.fields.expressions import Expressions
from scripts.lab.fields.faces import FRAME, Crops, draw_faces
from scripts.lab.fields.hills import render
from scripts.lab.fields.unit_motion import unit_hills
from scripts.lab.write_recognizer import drawn_pairs, write_recognizer

PLAIN = Ingredients(**dict.fromkeys(vars(Ingredients()), False))
BOX = Box(166, 11, 117, 180)  # as crop_box of BlazeFace's box
SCALE, MIDLINE, EYES = 0.363, 223.6, 107.0  # px of the photograph a px of `Faces`, and where


def photograph(units: str, strength: float = 4.0, seed: int = 0) -> dict[str, np.ndarray]:
    """A real face's pair: the onset as it is, the apex moved by action units; with some noise.

    `strength` is the largest displacement, px of a frame 480 px high in which the face fills half.
    """
    faces = draw_faces(1, PLAIN, np.random.default_rng(0))
    sizes = [(MIDLINE - BOX.x) / -SCALE, (EYES - BOX.y) / -SCALE, BOX.width / SCALE]
    sizes += [BOX.height / SCALE, np.deg2rad(4)]
    crops = Crops(*(np.full(1, size, np.float32) for size in sizes))
    acts = np.isin(ACTION_UNITS, [int(unit) for unit in units.split("+") if unit])
    shown = Expressions(
        np.zeros(1, int), acts[None].astype("f4"), np.ones((1, len(ACTION_UNITS), 2), "f4")
    )
    hills = unit_hills(faces, shown, np.array([strength]), PLAIN, np.random.default_rng(0))
    field = render(hills, crops, FRAME)[0]

    face = cv2.resize(BOX.crop(skimage.data.astronaut()), (FRAME, FRAME)).astype(np.float32)
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:FRAME, :FRAME].astype(np.float32)
    frames = {}
    for name, moved in (("onset", 0), ("apex", field)):
        points = np.dstack([x, y]) - moved
        frame = cv2.remap(face, points, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
        frame += rng.normal(0, 0.7, frame.shape)
        frames[name] = np.clip(np.rint(frame), 0, 255).astype(np.uint8)[None]
    return frames


@pytest.fixture(scope="module")
def artifact() -> ShippedArtifact:
    return ShippedArtifact("megc3")


@pytest.mark.parametrize(
    ("units", "label", "acting"),
    [
        ("6+12", "positive", {12}),
        ("12", "positive", {12}),
        ("1+2", "surprise", {1, 2}),
        ("4+7", "negative", {4}),
    ],
)
def test_a_photograph_that_is_made_to_move_is_recognized(artifact, units, label, acting):
    """It moves as units are described; 6 and 7 look unlike that in most of what was learned."""
    answer = artifact.look(photograph(units))
    assert answer.label == label
    found = {unit for unit, probability in answer.action_units.items() if probability > 0.5}
    assert acting <= found
    assert len(found - acting) <= 1
    stronger = artifact.look(photograph(units, strength=8.0))
    for unit in acting:
        assert 1.2 < stronger.strengths[unit] / answer.strengths[unit] < 2.8


def test_what_does_not_move_is_no_clear_expression(artifact):
    still = photograph("")
    answers = [artifact.look(still)]
    answers.append(artifact.look({"onset": still["onset"], "apex": still["onset"]}))
    answers.append(artifact.look(photograph(str(BLINK))))
    for answer in answers:
        assert answer.label is None
        assert max(answer.probabilities.values()) < artifact.threshold
        assert answer.expression < 0.5
    blinking = answers[-1].action_units
    assert max(blinking, key=lambda unit: blinking[unit]) == BLINK
    assert blinking[BLINK] > 0.3


def test_swapped_frames_are_another_motion(artifact):
    pair = photograph("6+12")
    swapped = artifact.look({"onset": pair["apex"], "apex": pair["onset"]})
    assert swapped.label != "positive"
    assert swapped.action_units[12] < 0.5


@pytest.mark.parametrize("scheme", motion_net.DRAWN_SCHEMES)
def test_a_mirrored_face_gets_the_same_answer(scheme):
    motion = draw_fields(16, np.random.default_rng(0)).motion
    model = motion_net.load(scheme)
    np.testing.assert_allclose(model(mirror_flow(motion)), model(motion), atol=2e-3)
    assert np.ptp(model(motion), axis=0).max() > 0.3


@pytest.mark.parametrize("scheme", motion_net.DRAWN_SCHEMES)
def test_it_takes_motion_in_any_unit_with_or_without_the_heads(scheme):
    model = motion_net.load(scheme)
    assert model.input.name == "motion"
    assert model.output_shape == (None, len(SCHEMES[scheme].classes))
    flow = np.random.default_rng(1).normal(0, 1, (4, 56, 56, 2)).astype("float32").cumsum(1)
    left, taken = (UVStrain(head_motion=x)(flow / 50).numpy() for x in (None, "median"))
    usual = model(left).numpy()
    np.testing.assert_allclose(usual.sum(axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(model(taken), usual, atol=2e-3)
    np.testing.assert_allclose(model(left * np.array([9, 9, 1], "f4")), usual, atol=2e-3)


def test_every_door_leads_to_the_same_answers():
    pair = photograph("1+2")
    answer = motion_net.load_recognizer()(pair)
    motion = answer["motion"]
    units = motion_net.load_action_units()(motion)
    for name in ("action_units", "strengths"):
        np.testing.assert_allclose(units[name], answer[name], rtol=1e-4, atol=1e-5)
    expected = answer["four"]
    np.testing.assert_allclose(motion_net.load("four")(motion), expected, atol=1e-5)
    classifier = ARCHITECTURES["motion_net"].build(frame_size=FRAME, classes=4, weights="drawn")
    np.testing.assert_allclose(classifier(pair), expected, atol=1e-4)


def test_the_shipped_file_answers_as_the_weights_do_in_keras():
    model = motion_net.load_recognizer()
    pairs = [*drawn_pairs(4), *(photograph(units) for units in ("6+12", "4+7", ""))]
    in_keras = [{k: x.numpy()[0] for k, x in model(pair).items()} for pair in pairs]
    for scheme in motion_net.DRAWN_SCHEMES:
        shipped = ShippedArtifact(scheme)
        assert shipped.threshold == motion_net.threshold(scheme)
        for pair, expected in zip(pairs, in_keras, strict=True):
            answer = shipped.look(pair)
            for found, name in (
                (list(answer.probabilities.values()), scheme),
                (list(answer.action_units.values()), "action_units"),
                (list(answer.strengths.values()), "strengths"),
                ([answer.expression], "expression"),
                (answer.motion, "motion"),
            ):
                np.testing.assert_allclose(found, expected[name], rtol=1e-3, atol=1e-3)


@pytest.mark.slow
def test_the_shipped_file_is_written_again_from_the_weights(tmp_path):
    for name in (WEIGHTS, TRAINING):
        shutil.copy(drawn_file().with_name(name), tmp_path)
    assert write_recognizer(tmp_path / WEIGHTS) <= 1e-3
    assert (tmp_path / RECOGNIZER.name).stat().st_size <= 2_500_000


def test_the_files_are_small_and_say_what_they_are():
    folder = files("casme_tf") / "models" / "drawn_motion_net"
    assert RECOGNIZER.stat().st_size <= 2_500_000
    assert drawn_file().stat().st_size <= 2_000_000
    training = json.loads((folder / "training.json").read_text())
    assert training["parameters"] <= 300_000
    assert sum(x.size for x in read_weights(drawn_file()).values()) == training["parameters"]
    card = (folder / "model_card.md").read_text()
    assert "trained on drawings alone" in card
    measured = json.loads((folder / "measurements.json").read_text())
    for name, each in measured["figures"].items():
        assert f"{each['figures']['uf1']['model']:.3f}" in card, name


def test_weights_of_another_network_are_refused(tmp_path):
    np.savez(tmp_path / "weights.npz", **{"half/kernel": np.zeros((3, 3, 6, 48))})
    with pytest.raises(UserError, match="half/kernel"):
        motion_net.load(weights=tmp_path / "weights.npz")
    (tmp_path / "weights.npz").write_text("nothing")
    with pytest.raises(UserError, match=r"weights\.npz that pretrain wrote"):
        motion_net.load(weights=tmp_path / "weights.npz")


def test_an_artifact_answers_for_many_pairs_at_once(artifact):
    pairs = [photograph(units) for units in ("6+12", "1+2")]
    both = {name: np.concatenate([pair[name] for pair in pairs]) for name in ("onset", "apex")}
    answers = artifact({name: np.tile(frames, (9, 1, 1, 1)) for name, frames in both.items()})
    assert answers.shape == (18, len(artifact.classes))
    for i, pair in enumerate(pairs):
        looked = list(artifact.look(pair).probabilities.values())
        np.testing.assert_allclose(answers[i::2], np.tile(looked, (9, 1)), atol=1e-4)


def test_other_classes_and_other_frames_are_refused(artifact):
    for load in (motion_net.load, ShippedArtifact):
        with pytest.raises(UserError, match="one of four, megc3"):
            load("five")
    frame = np.zeros((1, 64, 64, 3), np.uint8)
    for ask in (artifact, artifact.look):
        with pytest.raises(UserError, match=r"\(n, 224, 224, 3\)"):
            ask({"onset": frame, "apex": frame})
    two = np.zeros((2, 224, 224, 3), np.uint8)
    with pytest.raises(UserError, match="one pair at a time"):
        artifact.look({"onset": two, "apex": two})


def test_the_network_goes_on_learning_with_its_convolutions_frozen():
    network = ARCHITECTURES["motion_net"].build(frame_size=64).get_layer("network")
    trained = {variable.path.split("/")[-2] for variable in network.trainable_variables}
    assert trained == {"embedding", "expression", "four"}
    fresh = ARCHITECTURES["motion_net"].build(frame_size=64, weights="none").get_layer("network")
    assert len(fresh.trainable_variables) > len(network.trainable_variables)
    assert keras.Model(network.input, network.output).count_params() <= 300_000
    assert isinstance(NormalizeMotion(), keras.layers.Layer)
