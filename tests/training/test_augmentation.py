import numpy as np
import pytest
import tensorflow as tf
from support.moving_pairs import opencv_flow, random_pair

from casme_tf.layers import UVStrain
from casme_tf.training.inputs import Augmentation, augment_flow, augment_pair, mirror_flow, move

STILL = Augmentation(mirror=False, shift=0, rotation=0, scale=0, brightness=0)
SEED = tf.constant([5, 6])


def smooth_images(count: int, channels: int, side: int = 48) -> np.ndarray:
    rng = np.random.default_rng(0)
    coarse = rng.uniform(60, 190, (count, 6, 6, channels)).astype(np.float32)
    return tf.image.resize(coarse, (side, side), "bicubic").numpy()


def test_nothing_changes_where_no_change_is_allowed():
    pair = {"onset": smooth_images(3, 3), "apex": smooth_images(3, 3)[::-1]}
    moved = augment_pair(pair, STILL, SEED)
    np.testing.assert_allclose(moved["onset"], pair["onset"], atol=1e-3)
    for channels in (2, 3):
        flow = smooth_images(3, channels)
        np.testing.assert_allclose(augment_flow(flow, STILL, SEED), flow, atol=1e-3)


def test_both_frames_change_alike():
    images = smooth_images(8, 3)
    moved = augment_pair({"onset": images, "apex": images}, Augmentation(), SEED)
    assert np.array_equal(moved["onset"], moved["apex"])
    assert np.abs(moved["onset"] - images).mean() > 1


@pytest.mark.parametrize("channels", [2, 3])
def test_a_mirrored_flow_negates_dx_and_swaps_sides(channels):
    swap = tf.constant([[[-1.0, 0, 0], [0, 1, 0]]])
    flow = smooth_images(1, channels)
    np.testing.assert_allclose(move(flow, swap), flow[:, :, ::-1], atol=1e-3)
    always = Augmentation(shift=0, rotation=0, scale=0)
    for seed in range(20):
        changed = augment_flow(flow, always, tf.constant([seed, 0])).numpy()
        if not np.allclose(changed, flow, atol=1e-3):
            expected = flow[:, :, ::-1] * [-1, 1, 1][:channels]
            np.testing.assert_allclose(changed, expected, atol=1e-3)
            np.testing.assert_allclose(changed, mirror_flow(flow), atol=1e-3)
            return
    pytest.fail("no draw mirrored")


def test_mirror_takes_arrays_and_tensors_with_and_without_strain():
    field = np.arange(2 * 3 * 4 * 3, dtype=np.float32).reshape(2, 3, 4, 3)
    for flow in (field, field[0], field[..., :2]):
        mirrored = mirror_flow(flow)
        assert isinstance(mirrored, np.ndarray)
        assert mirrored.dtype == np.float32
        np.testing.assert_array_equal(mirrored[..., 0, 0], -flow[..., -1, 0])
        np.testing.assert_array_equal(mirrored[..., 1:], flow[..., ::-1, 1:])
        np.testing.assert_array_equal(mirror_flow(mirrored), flow)
        of_tensor = mirror_flow(tf.constant(flow))
        assert isinstance(of_tensor, tf.Tensor)
        np.testing.assert_array_equal(of_tensor, mirrored)
    batches = tf.data.Dataset.from_tensor_slices(field).batch(2).map(mirror_flow)
    np.testing.assert_array_equal(next(iter(batches)), mirror_flow(field))


def test_mirror_names_wrong_input():
    for shape in ((4, 4, 1), (4, 4, 4), (4, 2)):
        with pytest.raises(ValueError, match="Received: shape"):
            mirror_flow(np.zeros(shape, np.float32))


def test_mirrored_flow_is_the_flow_of_mirrored_frames():
    onset, apex = random_pair(96, 128, seed=1)
    flow = opencv_flow(onset, apex)
    swapped = opencv_flow(onset[:, ::-1].copy(), apex[:, ::-1].copy())
    inside = np.s_[16:-16, 16:-16]
    assert np.abs(flow[inside][..., 0]).mean() > 0.3
    np.testing.assert_allclose(mirror_flow(flow)[inside], swapped[inside], atol=0.02)


def test_a_shift_moves_by_its_share_of_the_side():
    shift = tf.constant([[[1.0, 0, 0.25], [0, 1, -0.125]]])
    image = smooth_images(1, 1, side=48)
    moved = move(image, shift).numpy()
    np.testing.assert_allclose(moved[0, 6:30, 24:], image[0, 12:36, 12:36], atol=1e-3)


def test_augmented_flow_is_the_flow_of_augmented_frames():
    """Frames warped by a known field, then turned, are related by the turned field."""
    # A field that varies slowly: f(x, y) relative to the center, in px.
    side = 64
    y, x = np.mgrid[:side, :side].astype(np.float32) - (side - 1) / 2
    flow = np.stack([1.5 + 0.02 * y, -0.8 + 0.03 * x], axis=-1)[None]
    angle = 0.3
    scale = 1.1
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    # A point p goes to T p; its partner p + f(p) goes to T p + T f(p).
    inverse = np.linalg.inv(turn)
    px, py = inverse[0, 0] * x + inverse[0, 1] * y, inverse[1, 0] * x + inverse[1, 1] * y
    there = np.stack([1.5 + 0.02 * py, -0.8 + 0.03 * px], axis=-1)
    expected = there @ turn.T

    class Fixed(Augmentation):
        def draw(self, count, seed):
            return tf.constant(np.c_[turn, [0, 0]][None], tf.float32)

    got = augment_flow(tf.constant(flow), Fixed(), SEED).numpy()[0]
    inside = np.s_[16:48, 16:48]
    np.testing.assert_allclose(got[inside], expected[inside], atol=1e-3)


def test_augmented_strain_is_the_strain_of_the_augmented_flow():
    """Turned, scaled, mirrored and shifted before or after dx, dy and strain are made."""
    y, x = np.mgrid[:224, :224].astype(np.float32) / 224 - 0.5
    bump = np.exp(-((x - 0.05) ** 2 + (y + 0.1) ** 2) / (2 * 0.15**2))
    flow = (bump[..., None] * [3, -2] + np.stack([x * y, y * y - x], axis=-1))[None]
    angle, scale = 0.4, 1.2
    cos, sin = scale * np.cos(angle), scale * np.sin(angle)

    class Fixed(Augmentation):
        def draw(self, count, seed):
            return tf.constant([[[-cos, -sin, 0.03], [-sin, cos, -0.02]]], tf.float32)

    layer = UVStrain(size=56, head_motion=None)
    after = augment_flow(layer(flow.astype(np.float32)), Fixed(), SEED).numpy()[0]
    before = layer(augment_flow(flow.astype(np.float32), Fixed(), SEED)).numpy()[0]
    inside = np.s_[18:38, 18:38]
    assert before[inside][..., 2].max() > 0.04
    difference = np.abs(after - before)[inside].max(axis=(0, 1))
    assert (difference < [0.02, 0.02, 4e-3]).all()  # px, px, px per px


def test_the_same_seed_gives_the_same_change():
    pair = {"onset": smooth_images(4, 3), "apex": smooth_images(4, 3)}
    first, again = (augment_pair(pair, Augmentation(), SEED)["apex"] for _ in range(2))
    other = augment_pair(pair, Augmentation(), SEED + 1)["apex"]
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
