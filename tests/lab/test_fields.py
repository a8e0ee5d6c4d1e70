"""Drawn fields of motion: true to their labels, to the corpus's units and to the real flow."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import tensorflow as tf

from casme_tf.labels import ACTION_UNITS, BLINK, FOUR
from casme_tf.layers import UVStrain
from casme_tf.synthetic.motion import PULLS, Habit, Unit, unit_field
from casme_tf.synthetic.subject import draw_subject
from scripts.lab.fields import DRAWN_EMOTIONS, Ingredients, draw_fields
from scripts.lab.fields.expressions import SETS, Expressions, class_of, draw_expressions
from scripts.lab.fields.faces import FRAME, Crops, draw_faces
from scripts.lab.fields.flow_faults import estimate
from scripts.lab.fields.hills import render
from scripts.lab.fields.motion_fields import strain
from scripts.lab.fields.painted_pairs import painted_fields
from scripts.lab.fields.scenes import draw_scenes
from scripts.lab.fields.unit_motion import unit_hills

PLAIN = Ingredients(**dict.fromkeys(vars(Ingredients()), False))


def chance(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.mark.parametrize("unit", ACTION_UNITS)
def test_a_unit_moves_as_in_the_corpus(unit):
    """The same displacement as the renderer's own, on one face, cell by cell."""
    faces = draw_faces(1, PLAIN, chance())
    subject = draw_subject(chance())
    measures = {name: float(x[0]) for name, x in vars(faces).items() if hasattr(subject, name)}
    subject = replace(subject, x=100.0, **measures)
    shift = np.array([[1.0, 0.0, 12.0], [0.0, 1.0, 100.0]])
    habit = Habit(gain=1.0, balance=0.0, turn=0.0, shift=(0.0, 0.0))
    expected = unit_field(subject, Unit(unit, strength=2.0), habit, shift)[:FRAME, :FRAME]

    strengths = (np.array(ACTION_UNITS) == unit).astype(np.float32)[None]
    shown = Expressions(np.zeros(1, int), strengths, np.ones((1, len(ACTION_UNITS), 2), np.float32))
    hills = unit_hills(faces, shown, np.array([2.0]), PLAIN, chance())
    side = np.full(1, FRAME, np.float32)
    # Cells are centered half a px off the frame's px.
    crops = Crops(-112.0 - 0.5 + 0 * side, -100.5 + 0 * side, side, side, 0 * side)
    found = render(hills, crops, FRAME)[0]
    np.testing.assert_allclose(found, expected, atol=0.05)
    assert np.abs(expected).max() > 1


def test_labels_say_what_was_drawn():
    fields = draw_fields(400, chance())
    assert fields.motion.shape == (400, 28, 28, 3)
    assert np.isfinite(fields.motion).all()
    shown = fields.emotions >= 0
    acts = fields.strengths > 0
    assert 0.15 < (~shown).mean() < 0.35
    blinks = ACTION_UNITS.index(BLINK)
    assert acts[shown][:, :blinks].any(axis=1).all()
    assert not acts[~shown][:, :blinks].any()
    assert acts[~shown][:, blinks].any()


def test_classes_are_equally_frequent_and_no_set_is_preferred():
    shown = draw_expressions(4000, Ingredients(), chance())
    classes = np.array([class_of(DRAWN_EMOTIONS[i]) for i in shown.emotions])
    for name in FOUR.classes:
        assert abs((classes == name).mean() - 0.25) < 0.03
    happy = shown.strengths[shown.emotions == DRAWN_EMOTIONS.index("happiness")] > 0
    lone_12 = (happy.sum(axis=1) == 1) & happy[:, ACTION_UNITS.index(12)]
    assert 0.05 < lone_12.mean() < 1.5 / len(SETS["happiness"])


def test_every_set_can_be_drawn_on_the_corpus_faces():
    units = {int(unit) for sets in SETS.values() for cell in sets for unit in cell.split("+")}
    assert units <= set(PULLS) - {BLINK}


def test_a_seed_gives_the_same_fields_and_another_others():
    first, again, other = (draw_fields(8, chance(seed)).motion for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 0.1


@pytest.mark.parametrize("name", [x for x in vars(Ingredients()) if x != "farneback"])
def test_each_ingredient_can_be_left_out(name):
    whole = draw_fields(64, chance(3))
    less = draw_fields(64, chance(3), replace(Ingredients(), **{name: False}))
    assert np.abs(whole.motion - less.motion).max() > 0.1
    if name == "nothing":
        assert (less.emotions >= 0).all()


def test_strain_is_that_of_the_pipeline():
    flow = draw_fields(5, chance()).motion[..., :2]
    cells = np.repeat(np.repeat(flow, 8, axis=1), 8, axis=2)
    expected = UVStrain(28, head_motion=None)(tf.constant(cells))
    np.testing.assert_allclose(strain(flow), expected[..., 2:], atol=1e-5)


def test_without_faults_the_estimate_is_the_truth():
    scenes = draw_scenes(6, 28, Ingredients(), chance())
    quiet = np.zeros(6)
    found = estimate(scenes.field, scenes.faces, scenes.crops, quiet, PLAIN, chance())
    np.testing.assert_array_equal(found, scenes.field)
    faulty = estimate(
        scenes.field, scenes.faces, scenes.crops, quiet + 0.1, Ingredients(), chance()
    )
    assert np.abs(faulty - scenes.field).max() > 0.05


def test_flow_between_painted_skins_follows_the_drawn_motion():
    """Real optical flow: in most scenes nearer to the true field than no motion is."""
    plain = replace(PLAIN, extent=True, asymmetry=True)
    (painted,) = painted_fields(32, 5, plain)
    (again,) = painted_fields(32, 5, plain)
    np.testing.assert_array_equal(painted.motion, again.motion)
    scenes = draw_scenes(32, 112, plain, np.random.default_rng([5, 2, 0]))
    np.testing.assert_array_equal(painted.strengths, scenes.strengths)
    truth = scenes.field.reshape(32, 28, 4, 28, 4, 2).mean(axis=(2, 4))
    inner = (slice(None), slice(3, -3), slice(3, -3), slice(0, 2))
    error, length = (
        np.linalg.norm(x[inner], axis=-1) for x in (painted.motion[..., :2] - truth, truth)
    )
    moves = length > 0.4
    assert moves.any(axis=(1, 2)).sum() > 15
    # Skin without texture hides some of it, so no more is asked than this.
    assert error[moves].mean() < 0.6 * length[moves].mean()
