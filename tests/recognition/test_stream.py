"""Answers on a stream: what is seen, in step with the stream, and without TensorFlow."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from support.clip_files import write_video

from casme_tf.cli.main import main
from casme_tf.clips.detector import FaceDetector
from casme_tf.clips.frames import FolderFrames, Frame, read_rgb
from casme_tf.clips.video import LiveFrames
from casme_tf.recognition.recognizer import Recognizer
from casme_tf.recognition.stream import Moment, RealtimeRecognizer

FPS = 100

WITHOUT_TENSORFLOW = (
    "import sys\n"
    "sys.modules['tensorflow'] = None\n"
    "from casme_tf.cli.main import main\n"
    "sys.exit(main('stream', sys.argv[1:]))"
)


@pytest.fixture(scope="module")
def folder(corpus) -> Path:
    return sorted((corpus / "CASME2-RAW").glob("sub*/*"))[2]


@pytest.fixture(scope="module")
def onset(folder) -> np.ndarray:
    return next(iter(FolderFrames(folder).between())).rgb


@pytest.fixture(scope="module")
def movement(corpus, folder, onset) -> list[np.ndarray]:
    """A face that is quiet, moves until frame 13, and is quiet again, in a camera's noise."""
    truth = pd.read_csv(corpus / "truth.csv", dtype=str)
    is_clip = (truth["subject"] == folder.parent.name) & (truth["clip"] == folder.name)
    apex = read_rgb(folder / f"img{truth[is_clip].iloc[0]['apex']}.jpg")
    half = cv2.addWeighted(onset, 0.5, apex, 0.5, 0)
    rng = np.random.default_rng(0)
    played = [*[onset] * 12, half, apex, half, *[onset] * 12]
    noisy = [frame + rng.normal(0, 2, frame.shape) for frame in played]
    return [np.clip(frame, 0, 255).astype(np.uint8) for frame in noisy]


@pytest.fixture(scope="module")
def ask(run) -> Iterator[Recognizer]:
    with Recognizer(run / "model_float32.tflite") as recognizer:
        yield recognizer


def see(ask: Recognizer, played: list[np.ndarray]) -> list[Moment]:
    with FaceDetector() as detector:
        live = RealtimeRecognizer(ask, detector)
        return [live.update(Frame(i, rgb, i / FPS)) for i, rgb in enumerate(played)]


def test_a_movement_is_seen_and_what_is_quiet_is_still(ask, movement):
    moments = see(ask, movement)
    states = [moment.state for moment in moments]
    assert states[:12] == ["still"] * 12
    assert states[13] == "moving"
    assert states[16:] == ["still"] * 11
    (over,) = [moment.over for moment in moments if moment.over]
    assert over.onset <= 0.11
    assert over.apex == 0.13
    assert 1 <= sum(moment.predicted for moment in moments) <= 2
    same = ask.pair(movement[round(over.onset * FPS)], movement[13])
    assert over.answer.label == same.label


def test_a_head_that_moves_is_no_movement_of_the_face(ask, onset):
    shifts = [round(4 * np.sin(i / 4)) for i in range(24)]
    moments = see(ask, [np.roll(onset, shift, axis=1) for shift in shifts])
    assert {moment.state for moment in moments} == {"still"}


def test_a_face_that_goes_and_comes_is_found_again(ask, onset):
    wall = np.full_like(onset, 90)
    moments = see(ask, [wall, *[onset] * 6, wall, wall, *[onset] * 6])
    states = [moment.state for moment in moments]
    assert states == ["no face", *["still"] * 6, *["no face"] * 2, *["still"] * 6]


def test_frames_are_dropped_not_queued(onset):
    def quick() -> Iterator[Frame]:
        for number in range(40):
            time.sleep(0.005)
            yield Frame(number, onset, number / 200)

    seen = []
    with LiveFrames(quick()) as live:
        for captured in live:
            time.sleep(0.03)
            seen.append((captured.frame.number, time.monotonic() - captured.at))
    assert live.came == 40
    assert live.dropped == 40 - len(seen) > 0
    assert seen[-1][0] == 39
    ages = [age for _, age in seen]
    assert np.median(ages[len(ages) // 2 :]) < np.median(ages) + 0.02  # no queue grows


def test_what_goes_wrong_while_reading_is_told(onset):
    def broken() -> Iterator[Frame]:
        yield Frame(0, onset, 0.0)
        raise OSError("the camera was pulled out")

    with LiveFrames(broken()) as live, pytest.raises(OSError, match="pulled out"):
        list(live)


def test_a_video_is_played_without_tensorflow(run, movement, tmp_path):
    video = write_video(tmp_path / "live.avi", movement, "MJPG", 20)
    command = [sys.executable, "-c", WITHOUT_TENSORFLOW, str(video), "--json"]
    command += ["--run", run.name, "--runs", str(run.parent)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    *told, last = map(json.loads, done.stdout.splitlines())
    summary = last["summary"]
    assert summary["frames"] == len(movement) == summary["processed"] + summary["dropped"]
    assert len(told) == summary["processed"]
    assert 0 < summary["fps"] < 30
    assert 0 < summary["latency_ms"]["median"] <= summary["latency_ms"]["p95"]
    numbers = [line["frame"] for line in told]
    assert numbers == sorted(set(numbers))
    moving = [line for line in told if line["state"] == "moving"]
    assert moving
    assert all(sum(line["probabilities"].values()) == pytest.approx(1, abs=1e-3) for line in moving)


def test_it_can_be_interrupted(run, folder):
    command = [sys.executable, "-m", "casme_tf", "stream", str(folder), "--fps", "0.5"]
    command += ["--model", str(run / "model_int8.tflite")]
    started = subprocess.Popen(
        [*command, "--json"],
        stdout=subprocess.PIPE,
        text=True,
        # What is started in a shell's background ignores the signal, and so do its children.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert json.loads(started.stdout.readline())["state"] == "still"
    started.send_signal(signal.SIGINT)
    rest, _ = started.communicate(timeout=30)
    assert started.returncode == 0
    assert json.loads(rest)["summary"]["processed"] == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["."], "must hold image files"),
        (["missing.mp4"], "does not exist"),
        (["99"], "camera 99, which cannot be opened"),
        (["FOLDER"], "Pass --fps"),
        (["FOLDER", "--fps", "0"], "above 0"),
        (["FOLDER", "--fps", "9", "--seconds", "0"], "--seconds must be above 0"),
        (["FOLDER", "--fps", "9", "--model", "none.tflite"], "does not exist"),
    ],
)
def test_mistakes_get_one_line(arguments, message, folder, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    arguments = [str(folder) if argument == "FOLDER" else argument for argument in arguments]
    assert main("stream", arguments) == 1
    (line,) = [line for line in capfd.readouterr().err.splitlines() if line.startswith("error")]
    assert message in line
