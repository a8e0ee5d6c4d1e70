"""BlazeFace in LiteRT finds what MediaPipe's own detector finds, with the same files."""

from contextlib import closing

import cv2
import numpy as np
import pytest
from skimage import data

from casme_tf.clips.blazeface import BlazeFace, find_model
from casme_tf.clips.detector import FaceDetector, crop_box
from casme_tf.clips.frames import read_rgb
from casme_tf.clips.mediapipe_face import MediaPipeFace
from casme_tf.errors import UserError

PHOTO = data.astronaut()
SCORE, KEYPOINTS = 1e-3, 0.5


def photographs() -> dict[str, np.ndarray]:
    """One photograph in many sizes and places; the last shows no face."""

    def resized(width: int, height: int) -> np.ndarray:
        return cv2.resize(PHOTO, (width, height), interpolation=cv2.INTER_AREA)

    two = np.full((260, 460, 3), 110, np.uint8)
    two[:200, :200] = cv2.resize(PHOTO[:260, 100:360], (200, 200))
    two[:, 200:] = PHOTO[:260, 100:360]
    small = np.full((480, 640, 3), 110, np.uint8)
    small[:250, 50:300] = resized(250, 250)
    sides = [(640, 480), (101, 333), (1024, 700), (128, 128), (192, 192), (67, 80)]
    return {
        "whole": PHOTO,
        "upside down": PHOTO[::-1],
        "two": two,
        "small": small,
        "cut": PHOTO[40:200, 150:300],
        "dark": (PHOTO * 0.2).astype(np.uint8),
        **{f"{width}×{height}": resized(width, height) for width, height in sides},
        "none": np.full((480, 640, 3), 128, np.uint8),
    }


@pytest.fixture(scope="module", params=["short", "full"])
def both(request):
    path = find_model(request.param)
    with closing(MediaPipeFace(path, 0.5)) as reference:
        yield BlazeFace(path, 0.5), reference


def require_equal(frame, both):
    found, expected = (model(frame) for model in both)
    assert len(found) == len(expected)
    for face, reference in zip(found, expected, strict=True):
        assert face.score == pytest.approx(reference.score, abs=SCORE)
        # Both cut to whole px, so a last bit may decide over one.
        np.testing.assert_allclose(face.box, reference.box, atol=1)
        np.testing.assert_allclose(face.keypoints, reference.keypoints, atol=KEYPOINTS)
    return found


@pytest.mark.parametrize("name", photographs())
def test_photographs_give_what_mediapipe_finds(both, name):
    require_equal(photographs()[name], both)


def test_drawn_faces_give_what_mediapipe_finds(both, corpus):
    onsets = sorted(corpus.glob("CASME2-RAW/*/*/img*.jpg"))[:: 60 * 4 // 24]
    assert sum(len(require_equal(read_rgb(path), both)) for path in onsets) >= len(onsets) // 2


def test_both_runtimes_crop_alike():
    with FaceDetector() as ours, FaceDetector(runtime="mediapipe") as reference:
        faces = ours.detect(PHOTO), reference.detect(PHOTO)
        assert crop_box(faces[0], PHOTO.shape[:2]) == crop_box(faces[1], PHOTO.shape[:2])
        assert faces[0].range == faces[1].range


def test_frame_too_long_for_the_detector():
    with pytest.raises(UserError, match="40000×1 px"):
        BlazeFace(find_model("short"), 0.5)(np.zeros((1, 40_000, 3), np.uint8))


def test_missing_system_library_is_named(monkeypatch):
    def fail(*_: object) -> None:
        raise OSError("libEGL.so.1: cannot open shared object file: No such file or directory")

    from mediapipe.tasks import python as tasks

    monkeypatch.setattr(tasks.vision.FaceDetector, "create_from_options", fail)
    with pytest.raises(UserError, match=r"libEGL\.so\.1.*apt-get install libegl1 libgles2"):
        MediaPipeFace(find_model("short"), 0.5)
