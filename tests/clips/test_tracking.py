"""A face followed through a clip: the head's motion out, what the face does left in."""

import cv2
import numpy as np
import pytest
from skimage import data

from casme_tf.clips import tracking as face_track
from casme_tf.clips.detector import FaceDetector, NoFaceError
from casme_tf.clips.frames import Frame, MemoryFrames
from casme_tf.clips.layout import (
    EYES,
    HEIGHT,
    WIDTH,
    after,
    apply,
    displacement,
    fit_similarity,
    inverse,
    skin_points,
)
from casme_tf.clips.tracking import FaceTracker, TrackedFace
from casme_tf.errors import UserError

EMPTY = np.full((480, 640, 3), 90, np.uint8)


@pytest.fixture(scope="module")
def detector():
    with FaceDetector() as detector:
        yield detector


def view(x: float = 0, y: float = 0, turn: float = 0, zoom: float = 1) -> np.ndarray:
    """Return the photographed face in 640×480 px, shifted, turned about its middle and enlarged."""
    matrix = cv2.getRotationMatrix2D((225, 130), turn, 2 * zoom)
    matrix[:, 2] += np.array([320 - 225 + x, 230 - 130 + y])
    return cv2.warpAffine(data.astronaut(), matrix, (640, 480), flags=cv2.INTER_CUBIC)


def follow(detector, frames, fps=None, **options) -> TrackedFace:
    tracker = FaceTracker(detector, **options)
    for frame in MemoryFrames(frames, fps).between():
        tracker.add(frame)
    return tracker.finish()


def test_the_heads_motion_is_taken_out_and_told(detector):
    frames = [view(), view(x=3, y=-2), view(x=9, y=5, turn=2), view(x=-6, turn=-3, zoom=1.04)]
    track = follow(detector, frames, fps=100)
    assert track.crops.shape == (4, HEIGHT, WIDTH)
    assert track.motion.shape == (4, len(skin_points()), 2)
    assert track.seen.all()
    np.testing.assert_allclose(track.seconds, [0, 0.01, 0.02, 0.03])
    # What is left is a hundredth of the eyes' distance at most, where the head went up to 9.
    assert np.linalg.norm(np.median(np.abs(track.motion), axis=1), axis=1).max() < 0.01 * EYES
    eyes = float(np.linalg.norm(track.face.keypoints[0] - track.face.keypoints[1]))
    assert track.head[0] == 0
    assert track.head[1] == pytest.approx(np.hypot(3, 2) / eyes, rel=0.15)
    assert track.head[2] > track.head[1]
    difference = np.abs(track.crops[1:].astype(float) - track.crops[0])
    assert difference[:, 80:200, 60:190].mean() < 4


def test_what_moves_on_its_own_stays(detector):
    x, y = np.meshgrid(np.arange(640, dtype=np.float32), np.arange(480, dtype=np.float32))
    pull = 3 * np.exp(-((x - 290) ** 2 + (y - 290) ** 2) / (2 * 20**2))
    smile = cv2.remap(view(), x, y + pull.astype(np.float32), cv2.INTER_CUBIC)
    moved = cv2.warpAffine(smile, np.float32([[1, 0, 5], [0, 1, 0]]), (640, 480))
    track = follow(detector, [view(), moved])
    length = np.linalg.norm(track.motion[1], axis=1)
    assert length.max() > 4 * np.median(length)
    strongest = track.motion[1][length.argmax()]
    assert strongest[1] < -abs(strongest[0])  # upwards


def test_a_face_that_is_lost_is_found_again_and_bridged(detector):
    frames = [view(), view(x=2), EMPTY, view(x=120, y=40), view(x=121, y=40)]
    track = follow(detector, frames)
    assert track.seen.tolist() == [True, True, False, True, True]
    assert track.head[3] > 0.5
    assert track.head[1] < track.head[2] < track.head[3]
    np.testing.assert_allclose(track.motion[2], (track.motion[1] + track.motion[3]) / 2, atol=1e-5)


def test_frames_before_the_first_face_are_counted(detector):
    track = follow(detector, [EMPTY, EMPTY, view(), view()])
    assert (track.skipped, len(track), track.numbers.tolist()) == (2, 2, [2, 3])


def test_the_largest_of_two_people_is_followed(detector):
    small = cv2.resize(view(), (512, 384), interpolation=cv2.INTER_AREA)[:, 100:400]
    side = np.pad(small, ((48, 48), (0, 0), (0, 0)))
    pair = [np.hstack([side, view(x=step)[:, 160:480]]) for step in (0, 3)]
    track = follow(detector, pair)
    assert track.face.count == 2
    assert track.face.x > 300
    assert track.seen.all()


def test_a_face_that_fills_its_frame_is_followed(detector):
    with FaceDetector() as other:
        face = other.detect(view())
    x, y, width = (round(value) for value in (face.x, face.y, face.width))
    cuts = [view(x=step)[y - 30 : y + width + 10, x : x + width] for step in (0, 1)]
    track = follow(detector, cuts, cropped=True)
    assert track.seen.all()
    assert track.face.width == pytest.approx(face.width, rel=0.2)


def test_a_clip_without_a_face_or_of_too_many_frames_is_refused(detector, monkeypatch):
    with pytest.raises(NoFaceError, match="2 frames in which none is found"):
        follow(detector, [EMPTY, EMPTY])
    monkeypatch.setattr(face_track, "MOST_FRAMES", 2)
    with pytest.raises(UserError, match="at most 2 frames"):
        follow(detector, [view()] * 3)


def test_a_frame_of_8k_costs_no_more_than_itself(detector):
    large = cv2.resize(view(), (7680, 5760), interpolation=cv2.INTER_LINEAR)[:4320]
    tracker = FaceTracker(detector)
    tracker.add(Frame(0, large, None))
    tracker.add(Frame(1, np.roll(large, 24, axis=1), None))
    track = tracker.finish()
    assert track.seen.all()
    assert track.crops.nbytes == 2 * HEIGHT * WIDTH
    assert track.head[1] * np.ptp(track.face.keypoints[:2, 0]) == pytest.approx(24, rel=0.15)


def test_similarities():
    rng = np.random.default_rng(1)
    places = rng.uniform(0, 100, (60, 2))
    true = np.array([[1.02, -0.05, 3.0], [0.05, 1.02, -2.0]])
    vectors = displacement(true, places)
    vectors[:15] += rng.normal(0, 20, (15, 2))  # parts that move on their own
    found = fit_similarity(places, vectors)
    np.testing.assert_allclose(apply(found, places), apply(true, places), atol=0.05)
    np.testing.assert_allclose(apply(after(inverse(true), true), places), places, atol=1e-9)
    with pytest.raises(UserError, match="at least 3 places"):
        fit_similarity(places[:2], vectors[:2])
