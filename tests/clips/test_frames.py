"""Clips as folders, video files and arrays: real little files, right and wrong ones."""

import re
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from support.clip_files import turn_on_playback, write_video

from casme_tf.clips.frames import FolderFrames, MemoryFrames
from casme_tf.clips.video import open_frames
from casme_tf.errors import UserError


def card(number: int, size: tuple[int, int] = (48, 64)) -> np.ndarray:
    """A frame that tells its number by its brightness, and which side is up: blue above."""
    frame = np.full((*size, 3), 20 + 8 * number, np.uint8)
    frame[: size[0] // 4] = (0, 0, 250)
    return frame


def number_of(rgb: np.ndarray) -> int:
    return round((float(rgb[-12:].mean()) - 20) / 8)


def numbers(clip, *between) -> list[tuple[int, int]]:
    """Return the number that each frame has, and that which it shows."""
    return [(frame.number, number_of(frame.rgb)) for frame in clip.between(*between)]


@pytest.fixture
def folder(tmp_path):
    for number in (8, 9, 10, 11):
        Image.fromarray(card(number)).save(tmp_path / f"img{number}.png")
    return tmp_path


def test_files_keep_their_numbers_in_their_order(folder):
    (folder / "notes.txt").write_text("passed over")
    (folder / ".img7.png").write_bytes(b"passed over")
    clip = open_frames(folder, fps=200)
    assert clip.count == 4
    assert numbers(clip) == [(8, 8), (9, 9), (10, 10), (11, 11)]
    assert numbers(clip, 9, 10) == [(9, 9), (10, 10)]
    assert [frame.seconds for frame in clip.between(9)] == [0.005, 0.01, 0.015]


def test_a_missing_frame_leaves_a_gap_in_time(folder):
    (folder / "img9.png").unlink()
    clip = open_frames(folder, fps=100)
    assert [frame.seconds for frame in clip.between()] == [0, 0.02, 0.03]


def test_raw_frames_go_before_crops_beside_them(folder):
    Image.fromarray(card(1, (20, 20))).save(folder / "reg_img8.png")
    clip = FolderFrames(folder)
    assert numbers(clip) == [(8, 8), (9, 9), (10, 10), (11, 11)]
    assert "1 files other than imgN" in clip.notes[0]


@pytest.mark.parametrize(
    "names", [("b", "a", "c"), ("x1", "y1", "z2"), ("t-3b", "t-20b", "t-100b")]
)
def test_files_without_numbers_of_their_own_are_counted(names, tmp_path):
    for number, name in enumerate(names):
        Image.fromarray(card(number)).save(tmp_path / f"{name}.png")
    shown = [1, 0, 2] if names[0] == "b" else [0, 1, 2]
    assert numbers(FolderFrames(tmp_path)) == list(enumerate(shown))


def test_arrays_are_a_clip():
    clip = open_frames([card(number) for number in range(3)], fps=50)
    assert numbers(clip, 1) == [(1, 1), (2, 2)]
    assert [frame.seconds for frame in clip.between()] == [0, 0.02, 0.04]
    assert next(open_frames([card(0)]).between()).seconds is None


@pytest.mark.parametrize(
    ("name", "code", "fps"),
    [
        ("clip.mp4", "mp4v", 200),
        ("clip.avi", "MJPG", 25),
        ("clip.webm", "VP80", 30),
        ("odd.mp4", "mp4v", 23.976),
        ("img001.mp4", "mp4v", 60),  # which other readers take for a series of pictures
        ("%03d — лицо 顔.avi", "MJPG", 60),
    ],
)
def test_videos_are_read_frame_by_frame(name, code, fps, tmp_path):
    written = write_video(tmp_path / name, [card(number) for number in range(12)], code, fps)
    clip = open_frames(written)
    assert clip.fps == pytest.approx(fps, rel=0.02)
    assert clip.count == 12
    assert numbers(clip) == [(number, number) for number in range(12)]
    assert numbers(clip, 3, 5) == [(3, 3), (4, 4), (5, 5)]
    assert next(clip.between(6)).seconds == pytest.approx(6 / fps, rel=0.02)
    assert clip.notes == []
    assert open_frames(written, fps=100).fps == 100


def test_a_video_held_upright_is_turned_upright(tmp_path):
    path = write_video(tmp_path / "phone.mp4", [card(number) for number in range(3)])
    assert next(open_frames(path).between()).rgb.shape == (48, 64, 3)
    turn_on_playback(path)
    rgb = next(open_frames(path).between()).rgb
    assert rgb.shape == (64, 48, 3)
    # What was above is on the right after a quarter turn clockwise.
    assert rgb[:, -6:, 2].mean() > 200 > 150 > rgb[:, :30, 2].mean()


def test_a_very_long_path_is_read(tmp_path):
    deep = tmp_path.joinpath(*["д" * 100] * 12)
    deep.mkdir(parents=True)
    path = write_video(tmp_path / "clip.mp4", [card(0), card(1)]).rename(deep / "clip.mp4")
    assert len(str(path).encode()) > 2400
    assert numbers(open_frames(path)) == [(0, 0), (1, 1)]


def wrong(case: str, tmp_path: Path) -> object:
    path = tmp_path / "clip.mp4"
    if case == "empty":
        path.touch()
    elif case == "no video":
        path.write_bytes(np.random.default_rng(0).bytes(4000))
    elif case == "cut":
        written = write_video(path, [card(number) for number in range(12)])
        path.write_bytes(written.read_bytes()[: path.stat().st_size // 2])
    elif case == "zero frames":
        cv2.VideoWriter(
            str(path), cv2.CAP_FFMPEG, cv2.VideoWriter_fourcc(*"mp4v"), 30, (64, 48)
        ).release()
    elif case == "empty folder":
        return tmp_path
    elif case == "too long":
        return tmp_path / ("x" * 5000)
    elif case == "address":
        return "http://127.0.0.1:9/clip.mp4"
    elif case == "no camera":
        return "97"
    elif case == "no frames":
        return []
    elif case == "gray":
        return [np.zeros((4, 4), np.uint8)]
    elif case == "sizes":
        return [card(0), card(0, (48, 60))]
    return path


@pytest.mark.parametrize(
    ("case", "message"),
    [
        ("missing", "does not exist"),
        ("empty", "(empty), which it does not"),
        ("no video", "(4000 bytes), which it does not"),
        ("cut", "may be damaged"),
        ("zero frames", "may be damaged"),
        ("empty folder", "must hold image files"),
        ("too long", "characters): File name too long"),
        ("address", "does not exist"),
        ("no camera", "camera 97, which cannot be opened"),
        ("no frames", "which has none"),
        ("gray", "must be uint8 (H, W, 3)"),
        ("sizes", "frame 1 has 60×48 px and others 64×48 px"),
    ],
)
def test_what_is_no_clip_says_so(case, message, tmp_path, capfd):
    with pytest.raises(UserError, match=re.escape(message)) as caught:
        open_frames(wrong(case, tmp_path))
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize("fps", [0, -5, float("nan"), float("inf")])
def test_a_speed_is_above_nothing(fps, folder):
    with pytest.raises(UserError, match="above 0"):
        open_frames(folder, fps=fps)


def test_frames_of_a_folder_have_one_size_and_are_images(folder):
    Image.fromarray(card(10, (40, 64))).save(folder / "img10.png")
    with pytest.raises(UserError, match="frame 10 has 64×40 px and others 64×48 px"):
        list(open_frames(folder).between())
    (folder / "img10.png").write_bytes(b"no image")
    with pytest.raises(UserError, match=r"img10\.png, which is none"):
        list(open_frames(folder).between())


def test_a_video_that_ends_early_is_read_as_far_as_it_goes(tmp_path):
    path = write_video(tmp_path / "clip.avi", [card(number) for number in range(12)], "MJPG")
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    clip = open_frames(path)
    read = numbers(clip)
    assert 0 < len(read) < 12
    # The last of them may be torn.
    assert read[:-1] == [(number, number) for number in range(len(read) - 1)]
    assert f"should have 12 frames, {len(read)} could be read" in clip.notes[0]


def test_memory_does_not_grow_with_a_video(tmp_path):
    size = (720, 1280)
    plain = [np.full((*size, 3), level, np.uint8) for level in (40, 200)]
    path = write_video(tmp_path / "long.avi", [plain[i % 2] for i in range(200)], "MJPG", 30)
    code = """
import resource, sys
from casme_tf.clips.video import open_frames
def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
frames = open_frames(sys.argv[1]).between()
next(frames)
before = peak()
print(1 + sum(1 for _ in frames), peak() - before)
"""
    done = subprocess.run([sys.executable, "-c", code, path], capture_output=True, check=True)
    frames, megabytes = map(int, done.stdout.split())
    assert frames == 200
    assert megabytes < 60  # decoded they are 527 MB


def test_arrays_of_a_clip_are_of_one_kind():
    with pytest.raises(UserError, match="frame 1 of the clip, float64"):
        MemoryFrames([card(0), card(0) / 255])
