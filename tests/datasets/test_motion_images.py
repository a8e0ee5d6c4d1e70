"""Published motion images: read in their layout, brought to the project's motion."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from support.motion_images import write_motion_images

from casme_tf.datasets.motion_images import SPREAD, as_motion, read_motion_images, strain
from casme_tf.errors import UserError
from casme_tf.layers import UVStrain


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_motion_images(tmp_path_factory.mktemp("published"))


def test_clips_subjects_and_classes_are_those_of_the_index(folder):
    clips = read_motion_images(folder)
    assert len(clips.labels) == 36
    assert clips.databases == ("samm", "smic")
    assert clips.classes == ("negative", "positive", "surprise")
    assert clips.subjects[0] == "samm/00"
    assert set(clips.subjects) == {f"samm/0{i}" for i in range(3)} | {
        f"smic/s{i} ä-#" for i in range(3)
    }
    assert np.bincount(clips.labels).tolist() == [12, 12, 12]
    assert clips.names[:3].tolist() == ["0_0", "0_1", "1_0"]


def test_one_database_can_be_read_alone_in_either_case(folder):
    clips = read_motion_images(folder, ["SMIC"])
    assert clips.databases == ("smic",)
    assert len(clips.labels) == 18


def test_motion_has_its_median_at_zero_one_spread_and_its_directions(folder):
    motion = read_motion_images(folder).frames["motion"]
    field = motion[..., :2]
    assert motion.shape == (36, 28, 28, 3)
    assert motion.dtype == np.float32
    assert np.abs(np.median(field, axis=(1, 2))).max() < 1e-6
    np.testing.assert_allclose(field.std(axis=(1, 2, 3)), SPREAD, rtol=1e-5)
    # The first class moves up and to the right above the eyes, and is drawn so.
    middle = field[0, 6, 14]
    assert middle[0] > 0
    assert middle[1] < 0


def test_red_is_across_and_green_is_down():
    images = np.full((1, 28, 28, 3), 128, np.uint8)
    images[:, 5, 5, 0] = 255
    images[:, 20, 20, 1] = 0
    field = as_motion(images)[0, ..., :2]
    assert field[5, 5, 0] > 0 == field[5, 5, 1]
    assert field[20, 20, 1] < 0 == field[20, 20, 0]


def test_the_strain_is_that_of_the_layer():
    flow = np.random.default_rng(0).normal(size=(2, 28, 28, 2)).astype(np.float32)
    frames = np.kron(flow, np.ones((1, 8, 8, 1), np.float32))  # px of a crop of 224 px
    layer = UVStrain(head_motion=None)(frames).numpy()
    np.testing.assert_allclose(strain(flow), layer[..., 2:], atol=1e-5)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda f: (f / "index.csv").unlink(), "must hold one table of clips"),
        (lambda f: (f / "more.csv").write_bytes((f / "index.csv").read_bytes()), "index.csv, more"),
        (lambda f: next(f.glob("datasets/*/00_0_0*")).unlink(), "1 of 36 without, the first 00_0"),
        (lambda f: next(f.glob("datasets/*/00_0_0*")).write_bytes(b""), "no image"),
        (
            lambda f: cv2.imwrite(
                str(next(f.glob("datasets/*/00_0_0*"))), np.zeros((30, 30, 3), np.uint8)
            ),
            "30 × 30",
        ),
        (lambda f: replace(f, "samm,00,0_0,0", "samm,00,0_0,7"), "'7' of 0_0"),
        (lambda f: replace(f, "samm,00,0_1,", "samm,00,0_0,"), "0_0 of samm 00 twice"),
    ],
)
def test_what_cannot_be_read_is_said(tmp_path, change, words):
    folder = write_motion_images(tmp_path / "published")
    change(folder)
    with pytest.raises(UserError, match=words):
        read_motion_images(folder)


def test_an_unknown_database_is_said(folder):
    with pytest.raises(UserError, match=r"some of samm, smic\. Received: casme9"):
        read_motion_images(folder, ["casme9", "samm"])


def replace(folder, old, new):
    path = folder / "index.csv"
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")
