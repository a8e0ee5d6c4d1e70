"""Long clips searched: what stands out is found, and nothing where nothing moves."""

from collections.abc import Iterator

import numpy as np
import pytest
from support.drawn_clip import drawn_clip

from casme_tf.clips import search as module
from casme_tf.clips.detector import FaceDetector, NoFaceError
from casme_tf.clips.frames import Frame, MemoryFrames
from casme_tf.clips.search import is_long, spot_intervals, window_length
from casme_tf.clips.tracking import FaceTracker

FPS = 16
"""Its windows are the shortest there are, which keeps the tests short."""


@pytest.fixture(scope="module")
def detector():
    with FaceDetector() as detector:
        yield detector


def movement() -> tuple[list[np.ndarray], int]:
    """Return a movement of 7 frames, back at rest in the last, and its apex."""
    frames, apex = drawn_clip(17)
    rise = [frames[round(apex * share)] for share in (0, 0.4, 0.75, 1)]
    return rise + rise[-2::-1], 3


def rest(count: int, seed: int) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    neutral = drawn_clip(17)[0][0]
    return [
        np.clip(neutral + rng.normal(0, 1.2, neutral.shape), 0, 255).astype(np.uint8)
        for _ in range(count)
    ]


class Unsaid(MemoryFrames):
    """A clip that does not say how many frames it has, as browsers record them."""

    def __init__(self, frames, fps):
        super().__init__(frames, fps)
        self.count, self.read = None, 0

    def between(self, first=None, last=None) -> Iterator[Frame]:
        for frame in super().between(first, last):
            self.read += 1
            yield frame


def test_movements_that_stand_out_are_found_each_once(detector, monkeypatch):
    moved, apex = movement()
    clip = rest(12, 0) + moved + rest(28, 1) + moved + rest(9, 2)
    kept = []
    add = FaceTracker.add
    monkeypatch.setattr(
        FaceTracker, "add", lambda self, frame: (add(self, frame), kept.append(len(self)))
    )
    found = spot_intervals(Unsaid(clip, FPS), detector)
    true = [12 + apex, 12 + 7 + 28 + apex]
    apexes = sorted(interval.apex for interval in found.clear)
    assert len(apexes) == 2
    assert np.abs(np.subtract(apexes, true)).max() <= 1
    for each in found.clear:
        assert each.onset < each.apex < each.offset <= each.apex + 6
    scores = [interval.score for interval in found.intervals]
    assert scores == sorted(scores, reverse=True)
    assert (found.windows, found.length, found.unseen) == (7, 16, 0)
    # However long the clip, no more than a window of it is kept for each of the three.
    assert max(kept) == 16


def test_a_movement_stands_out_although_it_is_in_each_window(detector):
    moved, apex = movement()
    found = spot_intervals(MemoryFrames(rest(6, 0) + moved + rest(5, 1), FPS), detector)
    assert [interval.apex for interval in found.clear] == pytest.approx([6 + apex], abs=1)


def test_where_nothing_moves_nothing_is_found(detector):
    found = spot_intervals(MemoryFrames(rest(30, 0), FPS), detector)
    assert found.windows == 3
    assert found.intervals == ()


def test_windows_without_a_face_are_told(detector, monkeypatch):
    moved, _ = movement()
    empty = [np.full_like(moved[0], 90)] * 32
    found = spot_intervals(MemoryFrames(empty + rest(6, 0) + moved + rest(6, 1), FPS), detector)
    assert len(found.clear) == 1
    assert 0 < found.unseen < found.windows
    with pytest.raises(NoFaceError, match="none is followed in any of 3 windows"):
        spot_intervals(MemoryFrames(empty, FPS), detector)
    # Seen, but not after the onset of any window.
    monkeypatch.setattr(module, "_look", lambda track, method: None)
    assert spot_intervals(MemoryFrames(rest(16, 0), FPS), detector).intervals == ()


@pytest.mark.parametrize(("fps", "length"), [(5, 16), (30, 30), (200, 200), (1000, 400)])
def test_windows_last_a_second_within_bounds(fps, length):
    assert window_length(fps) == length


def test_long_is_more_than_two_windows():
    frame = np.zeros((4, 4, 3), np.uint8)
    assert not is_long(MemoryFrames([frame] * 32, FPS))
    assert is_long(MemoryFrames([frame] * 33, FPS))
    unsaid = Unsaid([frame] * 500, FPS)
    assert is_long(unsaid)
    assert unsaid.read == 33
    assert not is_long(Unsaid([frame] * 32, FPS))
    # No clip of CASME II, the longest of which has 141 frames, is long where its speed is unknown.
    assert not is_long(MemoryFrames([frame] * 141))
    assert module.LONGEST * 2 < 1200  # what a tracker holds
