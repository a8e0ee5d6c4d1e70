import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from casme_tf.cli.main import main
from casme_tf.clips.detector import Box
from casme_tf.clips.frames import read_rgb, resize
from casme_tf.datasets.pairs import resize_frame
from casme_tf.export.artifacts import load_artifact
from casme_tf.labels import CLASSES
from casme_tf.recognition.figures import answer_figure
from casme_tf.recognition.recognizer import Answer, Recognizer
from casme_tf.training.settings import TrainConfig
from casme_tf.training.train import train


@pytest.fixture(scope="module")
def clip(corpus, prepared) -> dict:
    """Of one clip, its full frames and its crops."""
    import pandas as pd

    row = pd.read_csv(prepared / "manifest.csv", dtype=str).iloc[0]
    raw = corpus / "CASME2-RAW" / row["subject"] / row["clip"]
    crops = prepared / row["subject"] / f"ROI_{row['clip']}"
    return {
        "full": [raw / f"img{row[name]}.jpg" for name in ("onset", "apex")],
        "crops": [crops / f"{name}_frame.jpg" for name in ("onset", "apex")],
        "box": [int(row[f"box_{name}"]) for name in ("x", "y", "width", "height")],
    }


def ask(run, frames, *flags) -> list[str]:
    onset, apex = map(str, frames)
    which = ["--run", run.name, "--runs", str(run.parent)]
    return [*which, "--onset", onset, "--apex", apex, *flags]


def test_full_frames_are_cut_with_the_box_of_preparation(run, clip, capsys):
    assert main("predict", ask(run, clip["full"], "--json")) == 0
    full = json.loads(capsys.readouterr().out)["answers"][0]
    model = load_artifact(run / "model_float32.tflite")
    box = Box(*clip["box"])
    pair = {
        name: resize(box.crop(read_rgb(path)), 64)[None]
        for name, path in zip(("onset", "apex"), clip["full"], strict=True)
    }
    expected = dict(zip(CLASSES, model(pair)[0], strict=True))
    assert list(full["probabilities"]) == list(CLASSES)
    assert sum(full["probabilities"].values()) == pytest.approx(1, abs=1e-4)
    assert full["label"] == max(full["probabilities"], key=full["probabilities"].get)
    assert [full["box"][name] for name in ("x", "y", "width", "height")] == clip["box"]
    assert full["probabilities"] == pytest.approx(expected, abs=1e-5)


def test_the_answer_is_printed_for_people(run, clip, capsys):
    assert main("predict", ask(run, clip["crops"], "--cropped")) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == "frames taken as they are"
    assert lines[0] in CLASSES
    assert [line.split()[0] for line in lines[1:5]] == list(CLASSES)


@pytest.fixture(scope="module")
def motion_run(data_dir, tmp_path_factory):
    """A run without ResNet50."""
    settings = TrainConfig(
        arch="motion_net",
        data_dir=data_dir,
        runs=tmp_path_factory.mktemp("runs"),
        frame_size=64,
        epochs=1,
    )
    return train(settings)


def test_a_network_without_resnet_is_drawn_without_a_map(motion_run, clip, tmp_path, capsys):
    figure = tmp_path / "answer.png"
    flags = ["--cropped", "--figure", str(figure)]
    assert main("predict", ask(motion_run, clip["crops"], *flags)) == 0
    assert figure.exists()
    assert capsys.readouterr().out.splitlines()[-1] == str(figure)
    answered = answer_of(motion_run / "model.keras", clip)
    with Recognizer(motion_run / "model.keras") as recognizer:
        assert recognizer.grad_cam(answered) is None
    texts = [text.get_text() for axes in answer_figure(answered).axes for text in axes.texts]
    assert any("needs a model.keras" in text for text in texts)


def answer_of(model, clip) -> Answer:
    with Recognizer(model) as recognizer:
        return recognizer.pair(*map(read_rgb, clip["crops"]), cropped=True)


def test_the_folder_of_versions_is_taken_as_serving_takes_it(run, clip, tmp_path):
    newest = answer_of(run / "saved_model" / "1", clip).probabilities
    assert answer_of(run / "saved_model", clip).probabilities == newest
    # Version 10 is newer than 9, and names that are no numbers are not versions.
    for name in ("9", "notes"):
        (tmp_path / name).mkdir()
    shutil.copytree(run / "saved_model" / "1", tmp_path / "10")
    assert answer_of(tmp_path, clip).probabilities == newest


@pytest.mark.parametrize("name", ["answer.jpg", "folder.png", "file/answer.png"])
def test_a_figure_that_cannot_be_written_is_said_before_the_answer(
    run, clip, tmp_path, capsys, monkeypatch, name
):
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(
        "casme_tf.recognition.predict.Recognizer", None
    )  # would fail if it were reached
    assert main("predict", ask(run, clip["crops"], "--figure", str(tmp_path / name))) == 1
    assert name.split("/")[0] in capsys.readouterr().err


def test_crops_and_litert_need_no_tensorflow(run, clip):
    code = (
        "import sys\n"
        "sys.modules['tensorflow'] = None\n"
        "from casme_tf.cli.main import main\n"
        "sys.exit(main('predict', sys.argv[1:]))"
    )
    model = ["--model", str(run / "model_int8.tflite"), "--cropped", "--json"]
    onset, apex = map(str, clip["crops"])
    command = [sys.executable, "-c", code, "--onset", onset, "--apex", apex, *model]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["answers"][0]["label"] in CLASSES


@pytest.mark.parametrize("size", [64, 224, 500])
def test_resizing_without_tensorflow_is_within_a_gray_level(clip, size):
    frame = read_rgb(clip["full"][0])
    ours = resize(frame, size).astype(int)
    pipeline = np.asarray(resize_frame(tf.constant(frame), size)).astype(int)
    assert np.abs(ours - pipeline).max() <= 1
    assert np.abs(ours - pipeline).mean() < 0.2


ANSWERS = """
import sys
from pathlib import Path
from casme_tf.cli.main import main
onset, apex, folder, table = sys.argv[1:]
listed = ["--clips", str(Path(folder).parent), "--out", table, "--fps", "200"]
assert main("predict", ["--onset", onset, "--apex", apex]) == 0
assert "scipy" not in sys.modules and "matplotlib" not in sys.modules
assert main("predict", ["--clip", folder, "--fps", "200"]) == 0
assert main("spot-apex", [folder]) == 0
assert main("stream", [folder, "--fps", "200", "--json"]) == 0
assert main("predict", listed) == 0
import casme_tf.recognition.app.app
heavy = {"tensorflow", "keras", "mediapipe", "tensorflow_datasets", "apache_beam", "mlcroissant"}
print("HEAVY", sorted(heavy & set(sys.modules)))
"""


def test_nothing_that_answers_imports_tensorflow(clip, tmp_path):
    (tmp_path / "clips").mkdir()
    folder = tmp_path / "clips" / "one"
    shutil.copytree(clip["full"][0].parent, folder)
    command = [sys.executable, "-c", ANSWERS, *clip["full"], folder, tmp_path / "answers.csv"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "HEAVY []"
