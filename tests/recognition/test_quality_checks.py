"""Each reason for distrust, on a photograph and a drawn face; and none of them on sound clips."""

from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
import skimage.data

from casme_tf.clips.detector import Face, FaceDetector
from casme_tf.clips.frames import FolderFrames, MemoryFrames, read_rgb
from casme_tf.errors import UserError
from casme_tf.recognition.recognizer import Recognizer

LARGE, COVERED = "more than a micro-expression", "something covers"
SATURATED, COMPRESSED, INTERLACED = "overexposed", "compressed", "interlaced"
TURNED, LOST = "turned clockwise", "not found again"
FRAMES = [LARGE, COVERED, SATURATED, COMPRESSED, INTERLACED, TURNED, LOST]
CUT, AGAIN, FAST = "scene changes", "again and again", "not plausible"


@pytest.fixture(scope="module")
def ask():
    with Recognizer() as recognizer:
        yield recognizer


PHOTOGRAPH = cv2.resize(skimage.data.astronaut()[20:260, 100:340], (480, 480), None, 0, 0, 2)


@pytest.fixture(scope="module", params=["photograph", "drawn"])
def still(request, corpus) -> np.ndarray:
    return PHOTOGRAPH if request.param == "photograph" else first_frame(corpus)


def first_frame(corpus: Path) -> np.ndarray:
    return read_rgb(sorted(corpus.rglob("img*.jpg"))[0])


@pytest.fixture(scope="module")
def face(still):
    return face_in(still)


def face_in(frame: np.ndarray) -> Face:
    with FaceDetector() as detector:
        return detector.detect(frame)


def noisy(frame: np.ndarray, seed: int = 0, level: float = 1.0) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(size=frame.shape) * level
    return np.clip(frame + noise, 0, 255).astype(np.uint8)


def moved(frame, face, px: float, *, mouth_opens: bool = False) -> np.ndarray:
    """Lift the corners of the mouth, or lower the jaw, by so many pixels."""
    height, width = frame.shape[:2]
    y, x = np.mgrid[:height, :width].astype(np.float32)
    eyes = float(np.linalg.norm(face.keypoints[1] - face.keypoints[0]))
    middle = face.keypoints[3]
    if mouth_opens:
        places, size, way = [middle + np.array([0, 0.25 * eyes])], (0.6 * eyes, 0.35 * eyes), px
    else:
        places = [middle + np.array([side * 0.4 * eyes, 0]) for side in (-1, 1)]
        size, way = (0.3 * eyes, 0.25 * eyes), -px
    dy = sum(
        way * np.exp(-(((x - px_) / size[0]) ** 2) - ((y - py_) / size[1]) ** 2)
        for px_, py_ in places
    )
    return cv2.remap(frame, x, (y - dy).astype(np.float32), cv2.INTER_CUBIC, None, 2)


def covered(frame, face) -> np.ndarray:
    x, y = face.keypoints[3].astype(int)
    eyes = int(np.linalg.norm(face.keypoints[1] - face.keypoints[0]))
    return cv2.ellipse(frame.copy(), (x, y), (eyes, eyes // 2), 20, 0, 360, (190, 140, 115), -1)


def glasses(frame, face) -> np.ndarray:
    eyes = int(np.linalg.norm(face.keypoints[1] - face.keypoints[0]))
    worn = frame.copy()
    for x, y in face.keypoints[:2].astype(int):
        cv2.circle(worn, (int(x), int(y)), int(0.4 * eyes), (20, 20, 20), max(eyes // 16, 2))
    return worn


def jpeg(frame, quality: int) -> np.ndarray:
    coded = cv2.imencode(".jpg", frame[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    return np.ascontiguousarray(cv2.imdecode(coded, cv2.IMREAD_COLOR)[..., ::-1])


def interlaced(frame, shift: int) -> np.ndarray:
    combed = frame.copy()
    combed[1::2] = np.roll(frame, shift, axis=1)[1::2]
    return combed


def brighter(frame, factor: float) -> np.ndarray:
    return np.clip(frame * factor, 0, 255).astype(np.uint8)


def told(answer) -> set[str]:
    return {reason for reason in FRAMES for doubt in answer.doubts if reason in doubt}


UNSOUND = {
    "jaw drop of 10 px": (lambda f, k: (f, moved(f, k, 10, mouth_opens=True)), {LARGE}),
    "smile of 15 px": (lambda f, k: (f, moved(f, k, 15)), {LARGE}),
    "hand before the mouth": (lambda f, k: (f, covered(f, k)), {COVERED, LOST}),
    "glasses put on": (lambda f, k: (f, glasses(f, k)), {COVERED, LOST}),
    "JPEG of quality 15": (lambda f, k: (jpeg(f, 15), jpeg(noisy(f, 2), 15)), {COMPRESSED}),
    "overexposed": (lambda f, k: (brighter(f, 2.2), brighter(f, 2.2)), {SATURATED}),
    "one frame overexposed": (lambda f, k: (f, brighter(f, 2.2)), {SATURATED, COVERED, LOST}),
    "interlaced": (lambda f, k: (f, interlaced(f, 3)), {INTERLACED}),
    "another scene": (lambda f, k: (f, np.ascontiguousarray(f[:, ::-1])), {COVERED, LOST}),
}


@pytest.mark.parametrize("case", UNSOUND)
def test_what_is_no_micro_expression_gets_its_reason(ask, still, face, case):
    make, expected = UNSOUND[case]
    onset, apex = make(still, face)
    if expected != {COMPRESSED}:
        onset, apex = noisy(onset, 0), noisy(apex, 1)
    reasons = told(ask.pair(onset, apex))
    assert reasons
    assert reasons <= expected


@pytest.mark.parametrize("quarters", [1, 2, 3])
def test_a_turned_face_is_told_with_the_way_back(ask, still, quarters):
    frame = np.ascontiguousarray(np.rot90(still, quarters))
    try:
        doubts = " ".join(ask.pair(frame, frame).doubts)
    except UserError as error:
        doubts = str(error)
    assert f"turned clockwise by {90 * quarters}°" in doubts


SOUND = {
    "still": lambda f, k: (f, f),
    "smile of 1 px": lambda f, k: (f, moved(f, k, 1)),
    "smile of 2 px": lambda f, k: (f, moved(f, k, 2)),
    "jaw drop of 2 px": lambda f, k: (f, moved(f, k, 2, mouth_opens=True)),
    "head moved by 3 px": lambda f, k: (f, np.roll(f, 3, axis=1)),
    "a little brighter": lambda f, k: (f, brighter(f, 1.03)),
    "noise of 4 gray levels": lambda f, k: (noisy(f, 3, 4), noisy(f, 4, 4)),
    "JPEG of quality 75": lambda f, k: (jpeg(noisy(f), 75), jpeg(noisy(moved(f, k, 2), 1), 75)),
}


@pytest.mark.parametrize("case", SOUND)
def test_sound_pairs_get_none(ask, still, face, case):
    onset, apex = SOUND[case](still, face)
    assert not told(ask.pair(noisy(onset, 0), noisy(apex, 1)))


def test_no_clip_of_the_corpus_gets_one(ask, corpus):
    """Smiles and startles as they are drawn, answered with 1.00 among them."""
    truth = pd.read_csv(corpus / "truth.csv", dtype=str)
    for row in truth.iloc[::8].itertuples():
        folder = corpus / "CASME2-RAW" / row.subject / row.clip
        onset, apex = (read_rgb(folder / f"img{n}.jpg") for n in (row.onset, row.apex))
        assert not told(ask.pair(onset, apex)), folder
    for folder in sorted((corpus / "CASME2-RAW").glob("sub*/*"))[:6]:
        doubts = " ".join(ask.clip(FolderFrames(folder, fps=200)).doubts)
        assert not any(reason in doubts for reason in (CUT, AGAIN, FAST))


def clip(still, face, px: list[float], fps: float) -> MemoryFrames:
    frames = [noisy(moved(still, face, each, mouth_opens=True), i) for i, each in enumerate(px)]
    return MemoryFrames(frames, fps=fps)


def test_speech_is_told_from_one_movement(ask):
    still, face = PHOTOGRAPH, face_in(PHOTOGRAPH)
    t = np.arange(48)
    speech = clip(still, face, 3 * (1 - np.cos(2 * np.pi * t / 12)), 50)
    assert any(AGAIN in doubt for doubt in ask.clip(speech).doubts)
    once = clip(still, face, 2 * np.clip(1 - abs(t - 20) / 8, 0, 1), 50)
    assert not any(AGAIN in doubt for doubt in ask.clip(once).doubts)


def test_cuts_and_speeds_that_cannot_be_are_told(ask, corpus):
    still = first_frame(corpus)
    frames = [noisy(still, i) for i in range(8)]
    frames += [noisy(still[:, ::-1] // 2, i) for i in range(8)]
    doubts = ask.clip(MemoryFrames(frames, fps=100_000)).doubts
    assert any("scene changes at frame 8" in doubt for doubt in doubts)
    assert any("100000 frames a second" in doubt for doubt in doubts)
    sound = ask.clip(MemoryFrames(frames[:8], fps=200)).doubts
    assert not any(CUT in doubt or FAST in doubt for doubt in sound)


def write_video(path: Path, frames: list[np.ndarray], fps: float) -> Path:
    height, width = frames[0].shape[:2]
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), fps, (width, height))
    for frame in frames:
        writer.write(frame[..., ::-1])
    writer.release()
    return path


def test_a_clip_in_which_nothing_stands_out_says_why(ask):
    still = PHOTOGRAPH
    blank = np.full_like(still, 90)
    frames = [noisy(still, i) for i in range(30)] + [noisy(blank, i, 2) for i in range(50)]
    made = ask.search(MemoryFrames(frames, fps=20))
    assert not made.answers
    text = " ".join(made.reasons)
    assert "The scene changes at frame 30." in text
    assert "windows (1.5 to 4.0 s)" in text
    assert made.closest is not None
    onset, apex = made.closest["onset"], made.closest["apex"]
    assert f"--onset {onset} --apex {apex}" in text
    assert made.closest["score"] < 2


def test_a_slow_movement_is_named_with_its_frames(ask):
    still, face = PHOTOGRAPH, face_in(PHOTOGRAPH)
    t = np.arange(90)
    px = 2 * np.clip(np.minimum((t - 20) / 30, (90 - t) / 40), 0, 1)
    frames = [noisy(moved(still, face, each), i) for i, each in enumerate(px)]
    made = ask.search(MemoryFrames(frames, fps=12.5))
    assert not made.answers
    assert abs(made.closest["apex"] - 50) <= 4
    assert "where a micro-expression takes 0.5 s in all" in " ".join(made.reasons)
