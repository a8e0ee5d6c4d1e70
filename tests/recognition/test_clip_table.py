"""Many clips to one table: what is a clip, what a row says, what interruptions change."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import pandas as pd
import pytest

from casme_tf.cli.main import main
from casme_tf.clips.frames import MemoryFrames
from casme_tf.clips.video import open_frames
from casme_tf.errors import UserError
from casme_tf.recognition import clip_table
from casme_tf.recognition.clip_table import list_clips, predict_clips
from casme_tf.recognition.recognizer import Recognizer
from tests.support.drawn_clip import drawn_clip


def write_clip(folder: Path, index: int, first: int = 1) -> Path:
    frames, _ = drawn_clip(index=index)
    folder.mkdir(parents=True)
    for number, rgb in enumerate(frames, first):
        cv2.imwrite(str(folder / f"img{number}.jpg"), rgb[..., ::-1])
    return folder


@pytest.fixture(scope="module")
def clips(tmp_path_factory) -> Path:
    """Three clips, one of them in a folder of its subject, one that is damaged, and no clips."""
    root = tmp_path_factory.mktemp("clips")
    write_clip(root / "b", 3)
    write_clip(root / "s1" / "a", 4, first=100)
    (root / "damaged").mkdir()
    (root / "damaged" / "img1.png").write_bytes(b"no picture")
    (root / "text").mkdir()
    (root / "text" / "notes.txt").write_text("no clip")
    (root / "film.mp4").write_bytes(b"no film")
    return root


@pytest.fixture(scope="module")
def table(clips, tmp_path_factory) -> pd.DataFrame:
    return predict_clips(list_clips(clips, fps=200), tmp_path_factory.mktemp("out") / "a.csv")


def test_folders_of_images_and_videos_are_clips(clips):
    assert [clip.name for clip in list_clips(clips)] == ["b", "damaged", "film.mp4", "s1/a"]


def test_a_table_names_clips_and_what_is_known_of_them(clips, tmp_path):
    (clips / "list.csv").write_text("clip,onset,apex,fps\nb,1,9,100\ns1/a,,,\n")
    first, second = list_clips(clips / "list.csv", fps=200)
    assert (first.path, first.onset, first.apex, first.fps) == (str(clips / "b"), 1, 9, 100)
    assert (second.name, second.onset, second.fps) == ("s1/a", None, 200)
    made = predict_clips([first], tmp_path / "given.csv")
    assert made.loc[0, ["onset", "apex", "begin_ms", "end_ms"]].tolist() == [1, 9, 0, 80]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("name\nb\n", "must have a column clip"),
        ("clip\n", "must have a column clip and rows"),
        ("clip,apex\nb,last\n", "row 2: apex must be a frame number .*Received: 'last'"),
        ("clip\nb\nb\n", "name each clip once. Received: b twice"),
    ],
)
def test_tables_that_are_wrong_are_named(tmp_path, content, message):
    (tmp_path / "list.csv").write_text(content)
    with pytest.raises(UserError, match=message):
        list_clips(tmp_path / "list.csv")


def test_what_is_no_list_is_refused(tmp_path, clips, capsys):
    for given in (tmp_path, tmp_path / "missing.csv", clips / "film.mp4"):
        with pytest.raises(UserError, match="--clips must be a folder"):
            list_clips(given)
    with pytest.raises(UserError, match="--out must be a table"):
        predict_clips([], tmp_path / "answers.txt")
    with pytest.raises(UserError, match="--workers must be at least 1"):
        predict_clips([], tmp_path / "answers.csv", workers=0)
    assert main("predict", ["--clips", str(clips), "--json"]) == 1
    assert "--clips answers with a table. Received: --json" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_row_says_what_the_recognizer_answers(clips, table):
    assert table["clip"].tolist() == ["b", "damaged", "film.mp4", "s1/a"]
    assert table["status"].tolist() == ["answered", "failed", "failed", "answered"]
    with Recognizer() as recognizer:
        (answer,) = recognizer.movements(open_frames(clips / "s1" / "a", fps=200)).answers
    row = table.iloc[3]
    assert row["label"] == (answer.label or "no clear expression")
    shares = {name: row[f"p_{name}"] for name in answer.probabilities}
    assert shares == pytest.approx(answer.probabilities, abs=1e-5)
    assert sum(shares.values()) == pytest.approx(1, abs=1e-4)
    assert (row["movement"], row["onset"], row["apex"]) == (
        *(1, answer.numbers["onset"], answer.numbers["apex"]),
    )
    assert row["begin_ms"] == 5 * (answer.numbers["onset"] - 100)
    assert row["end_ms"] == 5 * (answer.numbers["apex"] - 100)
    acting = {unit.number for unit in answer.action_units if unit.probability >= 0.5}
    assert row["action_units"] == "+".join(map(str, sorted(acting)))
    assert row["reasons"] == " ".join(answer.doubts)


def test_a_clip_that_fails_says_why_and_the_rest_goes_on(table):
    failed = table[table["status"] == "failed"]
    assert failed["reasons"].str.contains("Received").all()
    assert failed[["label", "movement", "begin_ms", "p_negative"]].isna().all(axis=None)


def test_python_answers_for_an_iterator_of_clips(clips):
    with Recognizer() as recognizer:
        short = MemoryFrames(drawn_clip(index=3)[0][:1])
        made = list(recognizer.each(iter([short, open_frames(clips / "b")])))
    assert isinstance(made[0], UserError)
    assert len(made[1].answers) == 1


def test_an_interrupted_table_is_continued_to_the_same(clips, table, tmp_path, monkeypatch):
    listed, out = list_clips(clips, fps=200), tmp_path / "answers.csv"
    whole = tmp_path / "whole.csv"
    predict_clips(listed, whole)
    asked = []
    answer = clip_table._answer

    def interrupted(settings, clip):
        asked.append(clip.name)
        if len(asked) == 3:
            raise KeyboardInterrupt
        return answer(settings, clip)

    monkeypatch.setattr(clip_table, "_answer", interrupted)
    with pytest.raises(KeyboardInterrupt):
        predict_clips(listed, out)
    assert not out.exists()
    partial = tmp_path / ".answers.csv.partial"
    with partial.open("a") as file:
        file.write('["s1/a", [{"cl')  # torn by a kill
    with pytest.raises(UserError, match="other settings or clips"):
        predict_clips(listed, out, scheme="megc3")
    predict_clips(listed, out)
    assert asked[3:] == ["film.mp4", "s1/a"]
    assert out.read_bytes() == whole.read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["answers.csv", "whole.csv"]


@pytest.mark.slow
def test_two_workers_killed_and_continued_give_the_table_of_one(tmp_path):
    """Two hundred clips."""
    for number in range(200):
        write_clip(tmp_path / "clips" / f"{number:03d}", number % 12)
    command = [Path(sys.executable).with_name("casme-tf"), "predict", "--fps", "200"]
    command += ["--clips", tmp_path / "clips", "--workers", "2", "--out"]
    partial = tmp_path / ".killed.csv.partial"
    process = subprocess.Popen([*command, tmp_path / "killed.csv"], start_new_session=True)
    while not (partial.is_file() and len(partial.read_text().splitlines()) > 40):
        assert process.poll() is None
        time.sleep(0.5)
    process.send_signal(signal.SIGKILL)
    process.wait()
    done = [json.loads(line)[0] for line in partial.read_text().splitlines()[1:-1]]
    assert 30 < len(done) < 200
    subprocess.run([*command, tmp_path / "killed.csv"], check=True)
    one = predict_clips(list_clips(tmp_path / "clips", fps=200), tmp_path / "one.csv")
    assert len(one) == 200
    assert (tmp_path / "killed.csv").read_bytes() == (tmp_path / "one.csv").read_bytes()
