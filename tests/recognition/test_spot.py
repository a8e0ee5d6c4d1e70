"""The verb `spot-apex` on real files, right and wrong ones."""

import json
import re
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from support.clip_files import write_video
from support.drawn_clip import drawn_clip

from casme_tf.cli.main import main

GRAY = np.full((480, 640, 3), 90, np.uint8)


@pytest.fixture(scope="module")
def video(tmp_path_factory) -> Path:
    frames, _ = drawn_clip()
    return write_video(tmp_path_factory.mktemp("clip") / "клип.avi", list(frames), "MJPG")


def told(capsys, *arguments: object) -> dict:
    assert main("spot-apex", [*map(str, arguments), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


@pytest.mark.parametrize("method", ["flow", "ten-cell"])
def test_a_video_is_told_and_drawn(method, video, tmp_path, capsys):
    picture = tmp_path / "curve.png"
    flags = ["--method", method, "--figure", str(picture)]
    assert main("spot-apex", [str(video), *flags]) == 0
    printed = capsys.readouterr()
    assert "clearness" in printed.out
    assert "rise" in printed.out
    assert printed.out.splitlines()[-1] == str(picture)
    assert printed.err == ""
    with Image.open(picture) as image:
        assert image.format == "PNG"
        assert len(image.convert("L").getcolors()) > 50
    found = told(capsys, video, "--method", method, "--trimmed")["intervals"][0]
    assert abs(found["apex"] - drawn_clip()[1]) <= 1
    assert (found["onset"], found["method"], found["moved"]) == (0, method, True)
    assert found["rise_ms"] == pytest.approx(5 * found["apex"], rel=0.02)


def test_a_folder_keeps_its_numbers_and_a_known_onset(tmp_path, capsys):
    for number, frame in enumerate(drawn_clip()[0], 46):
        Image.fromarray(frame).save(tmp_path / f"img{number}.jpg", quality=95)
    found = told(capsys, tmp_path, "--onset", 47)["intervals"][0]
    assert found["onset"] == 47
    assert abs(found["apex"] - 46 - drawn_clip()[1]) <= 1
    assert found["rise_ms"] is None
    assert main("spot-apex", [str(tmp_path), "--onset", "45"]) == 1
    assert "must be the number of a frame" in capsys.readouterr().err


def test_a_still_face_has_not_moved(tmp_path, capsys):
    for number in range(8):
        Image.fromarray(drawn_clip()[0][0]).save(tmp_path / f"{number}.png")
    assert main("spot-apex", [str(tmp_path)]) == 0
    assert capsys.readouterr().out.startswith("nothing moved")
    assert not told(capsys, tmp_path)["intervals"][0]["moved"]


def test_what_is_odd_is_noted(tmp_path, capsys):
    frames = list(drawn_clip()[0])
    small = [cv2.resize(frame, (512, 384))[:, 100:400] for frame in frames]
    two = [
        np.hstack([frame[:, 150:490], np.pad(other, ((48, 48), (0, 0), (0, 0)))])
        for frame, other in zip(frames, small, strict=True)
    ]
    two[8] = np.full_like(two[8], 90)
    video = write_video(tmp_path / "odd.avi", two, "MJPG")
    found = told(capsys, video)
    assert found["notes"] == [
        "The scene changes at frame 8.",
        "The scene changes at frame 9.",
        "No face is seen in 1 of 17 frames.",
        "There are 2 faces; the largest was followed.",
    ]
    assert abs(found["intervals"][0]["apex"] - drawn_clip()[1]) <= 1


def test_a_long_clip_is_searched(tmp_path, capsys):
    frames, apex = drawn_clip()
    clip = [*[frames[0]] * 15, frames[0], frames[apex // 2], frames[apex], frames[apex // 2]]
    video = write_video(tmp_path / "long.avi", [*clip, *[frames[0]] * 16], "MJPG", 15)
    picture = tmp_path / "curve.png"
    assert main("spot-apex", [str(video), "--figure", str(picture)]) == 0
    printed = capsys.readouterr()
    assert "offset" in printed.out
    assert "times what usually moves" in printed.out
    assert picture.stat().st_size > 5000
    found = told(capsys, video)
    assert found["window_frames"] == 16
    assert abs(found["intervals"][0]["apex"] - 17) <= 1
    assert found["intervals"][0]["stands_out"]


@pytest.mark.parametrize(
    ("frames", "flags", "message"),
    [
        (1, [], "at least 2 frames"),
        (0, [], "must show a face"),
        (3, ["--onset", "2"], "frames after the onset|at least 2 frames"),
        (3, ["--onset", "9"], "must be the number of a frame"),
        (3, ["--fps", "0"], "above 0"),
        (3, ["--figure", "curve.svg"], r"must end in \.png"),
        (3, ["--face-model", "none.tflite"], "none.tflite"),
    ],
)
def test_mistakes_get_one_line(frames, flags, message, tmp_path, capsys):
    shown = list(drawn_clip()[0][:frames]) or [GRAY] * 3
    video = write_video(tmp_path / "clip.avi", shown, "MJPG")
    assert main("spot-apex", [str(video), *flags]) == 1
    lines = [line for line in capsys.readouterr().err.splitlines() if line.strip()]
    assert len(lines) == 1
    assert lines[0].startswith("error: ")
    assert re.search(message, lines[0])
