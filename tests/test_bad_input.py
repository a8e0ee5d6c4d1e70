"""Each mistake that a user can make gets one clear line, a status of 1, and loses nothing.

`pytest tests/test_bad_input.py -rP` prints the lines as a table.
"""

import csv
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from casme_tf.cli.main import main
from casme_tf.datasets.pairs import Pairs, load_pairs

HEADER = ["Subject", "Filename", "", "OnsetFrame", "ApexFrame", "OffsetFrame", "", "Action Units"]
HEADER += ["Estimated Emotion"]
ROW = ["01", "EP02_01", "", "10", "12", "14", "", "4", "disgust"]


class World:
    """A folder with a raw clip, a coding sheet, and the commands on them."""

    def __init__(self, folder: Path, frames: tuple[Path, Path]) -> None:
        self.folder = folder
        self.clip = folder / "CASME2-RAW" / "sub01" / "EP02_01"
        self.clip.mkdir(parents=True)
        self.onset, self.apex = self.clip / "img10.jpg", self.clip / "img12.jpg"
        for source, target in zip(frames, (self.onset, self.apex), strict=True):
            shutil.copy(source, target)
        self.sheet = folder / "coding.csv"
        self.write(HEADER, ROW)
        self.out = folder / "prepared_dataset"

    def write(self, *rows: list[str]) -> None:
        with self.sheet.open("w", newline="") as file:
            csv.writer(file).writerows(rows)

    def change(self, **cells: str) -> None:
        self.write(
            HEADER, [cells.get(name, value) for name, value in zip(HEADER, ROW, strict=True)]
        )

    def prepare(self) -> int:
        options = {"raw": self.folder / "CASME2-RAW", "coding": self.sheet, "out": self.out}
        return main("prepare-dataset", [f"--{name}={value}" for name, value in options.items()])


def image(path: Path, mode: str, size: tuple[int, int] = (640, 480)) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (size[1], size[0], 4), dtype=np.uint8)
    Image.fromarray(noise).convert(mode).save(path, format="PNG" if mode == "RGBA" else "JPEG")


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:3000])


PREPARE: dict[str, tuple[Callable[[World], object], str]] = {
    "no such folder": (lambda w: shutil.rmtree(w.folder / "CASME2-RAW"), "CASME2-RAW"),
    "sheet missing": (lambda w: w.sheet.unlink(), "coding.csv"),
    "sheet not a spreadsheet": (lambda w: w.sheet.write_bytes(b"\x00\xff\x07" * 99), "coding.csv"),
    "sheet with wrong columns": (lambda w: w.write(["Who", "What"], ["1", "2"]), "columns"),
    "sheet empty": (lambda w: w.sheet.write_text(""), "coding.csv"),
    "unknown emotion": (lambda w: w.change(**{"Estimated Emotion": "joyful"}), "joyful"),
    "onset after apex": (lambda w: w.change(OnsetFrame="13"), "13"),
    "duplicate clip": (lambda w: w.write(HEADER, ROW, ROW), "row"),
    "apex '/', and no frame to find it in": (
        lambda w: (w.change(ApexFrame="/"), w.apex.unlink()),
        "frames after its onset",
    ),
    "clip name with a separator": (lambda w: w.change(Filename="a/b"), "a/b"),
    "clip name with '..'": (lambda w: w.change(Filename="..", Subject="01"), r"\.\."),
    "frame missing": (lambda w: w.apex.unlink(), "img12.jpg"),
    "frame of zero bytes": (lambda w: w.apex.write_bytes(b""), "empty"),
    "frame truncated": (lambda w: cut(w.apex), "truncated"),
    "frame not an image": (lambda w: w.apex.write_text("hello" * 99), "JPEG.*none"),
    "frame of another size": (lambda w: image(w.apex, "RGB", (320, 240)), "size"),
    "no face": (lambda w: (image(w.onset, "RGB"), image(w.apex, "RGB")), "face"),
    "folder not writable": (lambda w: w.out.write_text("a file"), "prepared_dataset"),
}


@pytest.fixture
def world(corpus, tmp_path) -> World:
    frames = sorted((corpus / "CASME2-RAW").glob("sub*/*/img*.jpg"))[:2]
    return World(tmp_path, (frames[0], frames[1]))


def one_message(capsys, case: str) -> str:
    """Return the lines of the error; it has no traceback."""
    captured = capsys.readouterr()
    lines = [
        line
        for line in captured.err.replace("\r", "\n").splitlines()
        if line.startswith(("error:", "not prepared:", "  "))
    ]
    message = "\n".join(lines)
    assert "Traceback" not in captured.err
    assert lines
    print(f"{case} | {' / '.join(lines)}")
    return message


@pytest.mark.parametrize("case", PREPARE)
def test_preparation_says_what_is_wrong(world, case, capsys):
    spoil, expected = PREPARE[case]
    spoil(world)
    assert world.prepare() == 1
    message = one_message(capsys, case)
    assert re.search(expected, message)
    if world.out.is_dir():
        left = [path for path in world.out.rglob("*") if path.name.startswith(".")]
        assert not left


@pytest.mark.parametrize("mode", ["L", "RGBA"])
def test_gray_frames_and_frames_with_alpha_are_taken(world, mode):
    for path in (world.onset, world.apex):
        with Image.open(path) as frame:
            pixels = frame.convert(mode)
        pixels.save(path, format="PNG")
    assert world.prepare() == 0
    with Image.open(world.out / "sub01" / "ROI_EP02_01" / "onset_frame.jpg") as crop:
        assert crop.mode == "RGB"


def test_what_was_prepared_before_a_mistake_is_kept(world, capsys):
    assert world.prepare() == 0
    before = {path: path.read_bytes() for path in world.out.rglob("*.jpg")}
    world.change(**{"Estimated Emotion": "joyful"})
    assert world.prepare() == 1
    assert {path: path.read_bytes() for path in world.out.rglob("*.jpg")} == before


TRAIN = {
    "data set not built": (["--data-dir", "{tmp}/none"], "tfds build casme2"),
    "weights file missing": (["--weights", "{tmp}/none.h5"], "does not exist"),
    "weights not a weights file": (["--weights", "{run}/labels.txt"], "does not fit"),
    "run name that exists": (["--run", "shared", "--runs", "{runs}"], "--overwrite"),
    "run name with a separator": (["--run", "a/b"], "plain folder name"),
}


@pytest.mark.parametrize("case", TRAIN)
def test_training_says_what_is_wrong(case, run, data_dir, tmp_path, capsys):
    flags, expected = TRAIN[case]
    places = {"tmp": tmp_path, "run": run, "runs": run.parent}
    given = [flag.format(**places) for flag in flags]
    defaults = ["--data-dir", str(data_dir), "--runs", str(tmp_path / "runs"), "--weights", "none"]
    size = ["--frame-size", "64", "--network-size", "32"]
    assert main("train", ["--arch", "flow", *defaults, *size, *given]) == 1
    assert expected in one_message(capsys, case)
    assert not (tmp_path / "runs").exists()


def test_a_data_set_of_an_older_version_is_named(data_dir, tmp_path, capsys):
    (built,) = (data_dir / "casme2").glob("[0-9]*")
    shutil.copytree(built, tmp_path / "casme2" / "0.9.0")
    assert main("train", ["--arch", "flow", "--data-dir", str(tmp_path)]) == 1
    message = one_message(capsys, "data set built by an older version")
    assert "Received: version 0.9.0" in message


SUBSETS: dict[str, tuple[Callable[[pd.DataFrame], pd.Series], str]] = {
    "fewer subjects than the split needs": (
        lambda clips: clips["subject"].isin(sorted(set(clips["subject"]))[:2]),
        "at least 3 subjects",
    ),
    "one class alone": (lambda clips: clips["class"] == "other", "clips of other only"),
    "a class without samples in a part": (
        lambda clips: (clips["class"] != "surprise") | (clips["clip"] == only_surprise(clips)),
        "class surprise of 1 subjects",
    ),
}


def only_surprise(clips: pd.DataFrame) -> str:
    return clips.loc[clips["class"] == "surprise", "clip"].iloc[0]


@pytest.mark.parametrize("case", SUBSETS)
def test_data_that_cannot_be_split_is_refused(case, data_dir, tmp_path, capsys, monkeypatch):
    chosen, expected = SUBSETS[case]
    pairs = load_pairs(data_dir, 64)
    kept = np.flatnonzero(chosen(pairs.clips))
    fewer = Pairs(
        {name: frames[kept] for name, frames in pairs.frames.items()},
        pairs.labels[kept],
        pairs.clips.iloc[kept].reset_index(drop=True),
        pairs.corpus,
    )
    monkeypatch.setattr("casme_tf.training.train.load_pairs", lambda *_: fewer)
    runs = ["--runs", str(tmp_path / "runs"), "--weights", "none"]
    assert main("train", ["--arch", "flow", *runs]) == 1
    assert expected in one_message(capsys, case)
    assert not (tmp_path / "runs").exists()


PREDICT = {
    "frame missing": ("{tmp}/none.jpg", "{crops}/apex_frame.jpg", [], "does not exist"),
    "frames of two sizes": ("{crops}/onset_frame.jpg", "{tmp}/small.png", [], "of one size"),
    "no face in the frame": ("{tmp}/noise.png", "{tmp}/noise.png", [], "face"),
    "no such run": (
        "{crops}/onset_frame.jpg",
        "{crops}/apex_frame.jpg",
        ["--run", "nobody"],
        "casme-tf train",
    ),
}


@pytest.mark.parametrize("case", PREDICT)
def test_prediction_says_what_is_wrong(case, run, prepared, tmp_path, capsys):
    onset, apex, flags, expected = PREDICT[case]
    image(tmp_path / "small.png", "RGB", (100, 90))
    image(tmp_path / "noise.png", "RGB")
    places = {"tmp": tmp_path, "crops": next(prepared.glob("sub*/ROI_*"))}
    which = ["--run", run.name, "--runs", str(run.parent)]
    frames = ["--onset", onset.format(**places), "--apex", apex.format(**places)]
    assert main("predict", [*which, *frames, *flags]) == 1
    assert expected in one_message(capsys, case)


@pytest.mark.slow
def test_a_full_disk_is_one_line_and_keeps_what_was_there(run, tmp_path, monkeypatch, capsys):
    copy = tmp_path / "runs" / "full"
    shutil.copytree(run, copy)
    before = (copy / "metrics.json").read_bytes()

    def full(*args, **kwargs):
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(Path, "write_text", full)
    assert main("evaluate", ["--run", "full", "--runs", str(tmp_path / "runs")]) == 1
    assert "No space left on device" in one_message(capsys, "disk full")
    assert (copy / "metrics.json").read_bytes() == before
    assert not [path for path in copy.iterdir() if path.name.startswith(".")]


def test_the_demo_leaves_a_folder_of_yours_alone(tmp_path, capsys):
    (tmp_path / "thesis.tex").write_text("years of work")
    runs = str(tmp_path / "runs")
    assert main("demo", ["--data", str(tmp_path), "--runs", runs]) == 1
    assert "holds other things" in one_message(capsys, "demo in a folder of other things")
    assert (tmp_path / "thesis.tex").read_text() == "years of work"


def test_a_data_set_without_the_runs_clips_is_refused(run, tmp_path, capsys):
    copy = tmp_path / "runs" / "other"
    shutil.copytree(run, copy)
    split = (copy / "split.csv").read_text()
    (copy / "split.csv").write_text(split + "sub99,EP01_01,test\n")
    assert main("evaluate", ["--run", "other", "--runs", str(tmp_path / "runs")]) == 1
    assert "must hold the" in one_message(capsys, "evaluation on another data set")
