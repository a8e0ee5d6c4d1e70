"""Apexes of drawn clips, whose truth is known, and what is said where there is none."""

import numpy as np
import pytest
from support.drawn_clip import drawn_clip

from casme_tf.clips.apex import (
    CLEAR,
    change_ratio,
    flow_curve,
    locate_peak,
    noise_level,
    spot_apex,
    ten_cell_curve,
)
from casme_tf.clips.detector import FaceDetector
from casme_tf.clips.frames import MemoryFrames
from casme_tf.clips.layout import HEIGHT, WIDTH, ten_cells
from casme_tf.clips.tracking import FaceTracker, TrackedFace
from casme_tf.errors import UserError

METHODS = ("flow", "ten-cell")


def follow(frames, fps=200) -> TrackedFace:
    with FaceDetector() as detector:
        tracker = FaceTracker(detector)
        for frame in MemoryFrames(frames, fps).between():
            tracker.add(frame)
        return tracker.finish()


@pytest.fixture(scope="module")
def track() -> TrackedFace:
    return follow(drawn_clip()[0])


@pytest.fixture(scope="module")
def still() -> TrackedFace:
    """A face that does nothing, in noise of its own each frame."""
    rng = np.random.default_rng(0)
    neutral = drawn_clip()[0][0]
    grain = (rng.normal(0, 1.2, neutral.shape) for _ in range(12))
    return follow([np.clip(neutral + noise, 0, 255).astype(np.uint8) for noise in grain])


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("trimmed", [True, False])
def test_the_apex_is_found(method, trimmed, track):
    apex = drawn_clip()[1]
    assert apex != 8  # which is the middle
    found = spot_apex(track, method, trimmed=trimmed)
    assert abs(found.apex - apex) <= 1
    assert found.onset < 4
    assert found.apex in found.near
    assert found.clearness > 0.8
    assert found.moved
    assert (found.skipped, found.unseen) == (0, 0)
    assert found.duration(found.onset, found.apex) == pytest.approx(
        (found.apex - found.onset) / 200
    )


def test_the_rest_before_a_movement_is_no_part_of_it():
    frames, apex = drawn_clip()
    found = spot_apex(follow([frames[0]] * 12 + list(frames)))
    assert abs(found.apex - (12 + apex)) <= 1
    assert 8 <= found.onset <= 14


@pytest.mark.parametrize("method", METHODS)
def test_a_face_that_does_nothing_has_not_moved(method, still):
    found = spot_apex(still, method, trimmed=True)
    assert not found.moved
    # Nothing says where the apex is, so it is about the middle.
    assert 4 <= found.apex <= 7
    assert found.clearness < CLEAR


def test_known_frames_are_taken(track):
    found = spot_apex(track, onset=2, apex=7)
    assert (found.method, found.onset, found.apex, found.near) == ("given", 2, 7, (7,))
    assert spot_apex(track, onset=1).onset == 1
    assert spot_apex(track, apex=5).onset < 5


@pytest.mark.parametrize("apex", range(1, 17))
def test_any_frame_but_the_first_may_be_named_the_apex(apex, track):
    assert spot_apex(track, apex=apex).onset < apex


@pytest.mark.parametrize(
    ("known", "message"),
    [
        ({"onset": 99}, "The onset must be the number of a frame in which the face is followed"),
        ({"apex": -1}, "The apex must be the number of a frame"),
        ({"onset": 5, "apex": 5}, "must come after the onset"),
        ({"onset": 16}, "frames after the onset"),
    ],
)
def test_wrong_frames_are_refused(known, message, track):
    with pytest.raises(UserError, match=message):
        spot_apex(track, **known)


def test_one_frame_has_no_apex():
    with pytest.raises(UserError, match="at least 2 frames"):
        spot_apex(follow(drawn_clip()[0][:1]))


def test_two_frames_are_onset_and_apex():
    frames, apex = drawn_clip()
    found = spot_apex(follow([frames[0], frames[apex]], None))
    assert (found.onset, found.apex, found.seconds) == (0, 1, None)
    assert found.duration(0, 1) is None


def test_the_flow_curve_is_how_far_the_face_went(track):
    """Its height is that of the strongest vector, give or take what smoothing takes."""
    apex = drawn_clip()[1]
    curve = flow_curve(track)
    assert curve[0] == 0
    lengths = np.linalg.norm(track.motion[apex] - track.motion[0], axis=1)
    assert curve[apex] == pytest.approx(lengths.max() / 96 * 100, rel=0.35)
    assert curve[apex] > 5 * abs(curve[1])
    # From another onset it starts from there.
    assert flow_curve(track, onset=apex)[apex] == 0


def test_the_ten_cell_curve_is_the_published_ratio(track):
    """In one cell and by loops, the ratio to the frame before, as published."""
    pixels = np.random.default_rng(0).uniform(0, 255, (5, 7))
    expected = [1.0]
    for t in range(1, 5):
        since, between = abs(pixels[t] - pixels[0]) + 1, abs(pixels[t] - pixels[t - 1]) + 1
        expected.append(float(np.mean([s / b for s, b in zip(since, between, strict=True)])))
    np.testing.assert_allclose(change_ratio(pixels, both_sides=False), expected)
    both = change_ratio(pixels)
    assert both.shape == (5,)
    np.testing.assert_allclose(change_ratio(pixels[::-1], onset=4)[::-1], both)
    curve = ten_cell_curve(track)
    assert int(curve[1:].argmax()) + 1 == pytest.approx(drawn_clip()[1], abs=2)


def test_ten_cells_lie_on_the_face(track):
    cells = ten_cells(track.keypoints)
    assert len(cells) == 10
    assert all(cell.shape == (HEIGHT, WIDTH) and cell.any() for cell in cells)
    brows, mouth = cells[7:], cells[:2]
    rows = [np.nonzero(cell)[0].mean() for cell in (*brows, *mouth)]
    assert max(rows[:3]) < min(rows[3:])


def hump(frames=40, at=17, noise=0.0, drift=0.0, seed=0) -> np.ndarray:
    t = np.arange(frames)
    curve = np.exp(-0.5 * ((t - at) / 5) ** 2) + drift * t / frames
    return curve + np.random.default_rng(seed).normal(0, noise, frames)


@pytest.mark.parametrize(("noise", "off"), [(0, 0), (0.05, 2), (0.2, 5)])
def test_a_peak_is_found_in_noise(noise, off):
    places = [locate_peak(hump(noise=noise, seed=seed)) for seed in range(10)]
    assert np.mean([abs(peak.at - 17) for peak in places]) <= off
    assert all(17 in peak.near or abs(peak.at - 17) < 6 for peak in places)


def test_a_peak_goes_before_a_drift_that_ends_higher():
    curve = hump(noise=0.02, drift=2)
    assert curve.argmax() > 30
    assert abs(locate_peak(curve).at - 19) <= 2


def test_where_a_peak_may_be_can_be_told():
    allowed = np.arange(40) > 25
    assert locate_peak(hump(), allowed).at == 26


def test_noise_alone_is_not_clear():
    flat = [locate_peak(hump(noise=0.1, seed=seed) - hump()) for seed in range(20)]
    assert np.mean([peak.clearness for peak in flat]) < CLEAR
    assert noise_level(np.random.default_rng(0).normal(0, 2, 4000)) == pytest.approx(2, rel=0.1)
    assert noise_level(np.zeros(2)) == 0
