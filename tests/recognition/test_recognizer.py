"""Clips in, answers out: with the real detector, the real interpreter and real files."""

import json
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from casme_tf.cli.main import main
from casme_tf.clips.frames import FolderFrames, MemoryFrames
from casme_tf.errors import UserError
from casme_tf.layers import FlowToColor
from casme_tf.recognition.figures import flow_colors
from casme_tf.recognition.quality_checks import HEAD_MOVED, SMALL_FACE
from casme_tf.recognition.recognizer import Recognizer


@pytest.fixture(scope="module")
def folder(corpus) -> Path:
    """A clip of the stand-in corpus."""
    return sorted((corpus / "CASME2-RAW").glob("sub*/*"))[2]


@pytest.fixture(scope="module")
def frames(folder) -> list[np.ndarray]:
    clip = FolderFrames(folder)
    return [frame.rgb for frame in clip.between()]


@pytest.fixture(scope="module")
def ask(run):
    with Recognizer(run / "model_int8.tflite") as recognizer:
        yield recognizer


@pytest.fixture(scope="module")
def where(run) -> list[str]:
    return ["--run", run.name, "--runs", str(run.parent)]


def write_video(path: Path, frames: list[np.ndarray], code: str, fps: float) -> Path:
    height, width = frames[0].shape[:2]
    writer = cv2.VideoWriter(
        str(path), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*code), fps, (width, height)
    )
    for frame in frames:
        writer.write(cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
    writer.release()
    return path


def test_a_clip_is_answered_as_the_pair_chosen_from_it(folder, where, capsys, corpus):
    assert main("predict", ["--clip", str(folder), "--fps", "200", "--json", *where]) == 0
    clip = json.loads(capsys.readouterr().out)["answers"][0]
    chosen = [str(folder / f"img{clip['frames'][name]}.jpg") for name in ("onset", "apex")]
    assert main("predict", ["--onset", chosen[0], "--apex", chosen[1], "--json", *where]) == 0
    pair = json.loads(capsys.readouterr().out)["answers"][0]
    assert clip["probabilities"] == pair["probabilities"]
    assert clip["box"] == pair["box"]
    assert clip["seconds"]["apex"] > clip["seconds"]["onset"]
    truth = pd.read_csv(corpus / "truth.csv", dtype=str)
    row = truth[(truth["subject"] == folder.parent.name) & (truth["clip"] == folder.name)].iloc[0]
    assert abs(clip["frames"]["apex"] - int(row["apex"])) <= 1


def test_known_frames_are_taken(folder, where, capsys):
    numbers = sorted(int(path.stem.removeprefix("img")) for path in folder.glob("img*.jpg"))
    known = ["--onset", str(numbers[0]), "--apex", str(numbers[-1])]
    assert main("predict", ["--clip", str(folder), *known, "--json", *where]) == 0
    told = json.loads(capsys.readouterr().out)["answers"][0]
    assert list(told["frames"].values()) == [numbers[0], numbers[-1]]
    assert told["spotting"]["method"] == "given"


@pytest.mark.parametrize(("name", "code"), [("clip.mp4", "mp4v"), ("clip.avi", "MJPG")])
def test_a_video_is_a_clip(name, code, frames, where, tmp_path, capsys):
    video = write_video(tmp_path / name, frames, code, 200)
    assert main("predict", ["--clip", str(video), *where]) == 0
    assert "onset frame" in capsys.readouterr().out


def test_the_figure_shows_where_the_model_looked(folder, where, tmp_path, capsys):
    figure = tmp_path / "out.png"
    assert main("predict", ["--clip", str(folder), "--figure", str(figure), *where]) == 0
    assert str(figure) in capsys.readouterr().out
    with Image.open(figure) as image:
        assert image.width == 1080
        assert len(image.convert("L").getcolors()) > 200


def test_reasons_for_distrust_are_told(ask, frames):
    onset, apex = frames[0], frames[2]
    assert ask.pair(onset, apex).doubts == ()

    def doubts(first: np.ndarray, second: np.ndarray) -> str:
        return " ".join(ask.pair(first, second).doubts)

    small = [cv2.resize(frame, None, fx=0.35, fy=0.35) for frame in (onset, apex)]
    assert f"{SMALL_FACE:.0f} px or more" in doubts(*small)
    assert "dark" in doubts(onset // 5, apex // 5)
    assert "light changed" in doubts(onset, np.clip(apex * 1.3, 0, 255).astype(np.uint8))
    assert "head moved" in doubts(onset, np.roll(apex, 12, axis=1))
    assert "2 faces" in doubts(*(np.hstack([frame, frame]) for frame in (onset, apex)))
    assert "cut off" in doubts(onset[:, 230:], apex[:, 230:])
    assert "not found again" in doubts(onset, np.full_like(apex, 90))
    assert HEAD_MOVED < 12 / 115


def test_doubts_about_clips(ask, frames):
    def doubts(clip: list[np.ndarray], fps: float | None) -> str:
        return " ".join(ask.clip(MemoryFrames(clip, fps)).doubts)

    told = doubts(frames, None)
    assert "speed of the clip is unknown" in told
    assert "short" in told
    assert "slow" in doubts(frames, 25)
    still = doubts([frames[0]] * 8, 200)
    assert "Nothing moved" in still
    hidden = [*frames[:2], np.full_like(frames[0], 90), *frames[2:]]
    assert "No face is seen in 1 of 5 frames" in doubts(hidden, 200)


def test_what_cannot_be_answered_says_so(ask, frames):
    with pytest.raises(UserError, match="at least 2 frames"):
        ask.clip(MemoryFrames(frames[:1], 200))
    with pytest.raises(UserError, match="must show a face"):
        ask.clip(MemoryFrames([np.full_like(frames[0], 90)] * 4, 200))
    with pytest.raises(UserError, match="one size"):
        ask.pair(frames[0], frames[1][:, :-2])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "Give a pair"),
        (["--onset", "a.jpg"], "half a pair"),
        (["--onset", "a.jpg", "--apex", "b.jpg", "--fps", "25"], "--fps is for clips"),
        (["--clip", "missing.mp4"], "missing.mp4"),
        (["--clip", ".", "--onset", "first"], "number of a frame"),
        (["--clip", ".", "--scheme", "megc3"], "--scheme is for"),
        (["--clip", ".", "--model", "m.tflite"], "both"),
    ],
)
def test_mistakes_get_one_line(arguments, message, where, capsys):
    assert main("predict", [*arguments, *where]) == 1
    told = capsys.readouterr().err.strip().splitlines()
    assert len(told) == 1
    assert message in told[0]


def test_flow_is_drawn_as_the_network_sees_it(frames):
    rng = np.random.default_rng(0)
    flow = cv2.GaussianBlur(rng.normal(size=(64, 64, 2)).astype(np.float32), (0, 0), 4)
    seen = np.asarray(FlowToColor(whole_numbers=False)(flow[None]))[0]
    assert np.abs(flow_colors(flow).astype(float) - seen).mean() < 3


def test_the_model_is_looked_into_where_it_can_be(run, ask, frames):
    looked = ask.grad_cam(ask.pair(frames[0], frames[2]))
    assert looked is not None
    assert looked["flow"].shape == (64, 64)


def test_without_a_run_the_drawn_weights_answer(folder, tmp_path, capsys):
    figure = tmp_path / "out.png"
    arguments = ["--clip", str(folder), "--fps", "200", "--scheme", "megc3"]
    assert main("predict", [*arguments, "--json", "--figure", str(figure)]) == 0
    told = json.loads(capsys.readouterr().out)["answers"][0]
    assert list(told["probabilities"]) == ["negative", "positive", "surprise"]
    assert told["label"] in {*told["probabilities"], None}
    chances = [unit["probability"] for unit in told["action_units"]]
    assert chances == sorted(chances, reverse=True)
    assert figure.stat().st_size > 10_000


def test_where_nothing_moves_there_is_no_clear_expression(frames):
    with Recognizer() as recognizer:
        answer = recognizer.pair(frames[0], frames[0])
    assert answer.label is None
    assert answer.describe().startswith("no clear expression")
    assert answer.confidence < 0.5
    assert answer.to_json()["label"] is None


def test_crops_are_doubted_as_frames_are(frames):
    crops = [frame[91:427, 183:460] for frame in (frames[0], frames[-1])]
    with Recognizer() as recognizer:
        plain = recognizer.pair(*crops, cropped=True)
        dark = recognizer.pair(*(crop // 5 for crop in crops), cropped=True)
        other = recognizer.pair(crops[0], np.full_like(crops[1], 128), cropped=True)
        nobody = recognizer.pair(*(np.full_like(crop, 128) for crop in crops), cropped=True)
    assert plain.doubts == ()
    assert any("is dark" in doubt for doubt in dark.doubts)
    assert any("not found again in the apex frame" in doubt for doubt in other.doubts)
    assert nobody.doubts == (
        "No face is found in the onset frame, which should be the crop of one.",
    )
