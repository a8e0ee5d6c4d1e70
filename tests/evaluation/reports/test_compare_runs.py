"""Comparing two runs says what the paired statistics say, and no more."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from support.drawn_runs import draw_predictions, write_run

from casme_tf.cli.main import main
from casme_tf.evaluation.comparison import compare, mcnemar
from casme_tf.evaluation.reports.compare_runs import compare_runs, draw_comparison
from casme_tf.evaluation.reports.figures import comparison_figure
from casme_tf.labels import CLASSES


def command(runs: Path, *flags: str) -> int:
    return main("compare", ["a", "b", "--runs", str(runs), "--resamples", "300", *flags])


def make(runs: Path, first: pd.DataFrame, second: pd.DataFrame) -> Path:
    write_run(runs / "a", first)
    write_run(runs / "b", second)
    return runs


@pytest.fixture
def runs(tmp_path) -> Path:
    """Run `a` is better than `b`, whose rows are in another order."""
    worse = draw_predictions(0.2, 2).sample(frac=1, random_state=3)
    return make(tmp_path, draw_predictions(1.5, 1), worse)


def change_metrics(run: Path, **changes: object) -> None:
    content = json.loads((run / "metrics.json").read_text())
    (run / "metrics.json").write_text(json.dumps(content | changes))


def conclusion(runs: Path) -> str:
    return " ".join(compare_runs("a", "b", runs=runs, resamples=300).conclude())


def test_json_has_the_paired_statistics_of_both_runs(runs, capsys):
    assert command(runs, "--json", "--clips", "--seed", "4") == 0
    told = json.loads(capsys.readouterr().out)
    first, second = (pd.read_csv(runs / name / "predictions.csv") for name in "ab")
    second = first[["subject", "clip"]].merge(second, on=["subject", "clip"])
    index = {name: i for i, name in enumerate(CLASSES)}
    arrays = [
        column.map(index).to_numpy()
        for column in (first["y_true"], first["y_pred"], second["y_pred"])
    ]
    expected = compare(*arrays, first["subject"].to_numpy(), 4, resamples=300, seed=4)
    assert set(told["figures"]) == set(expected)
    for name, found in told["figures"].items():
        assert found["first"] == pytest.approx(expected[name].first)
        assert found["second"] == pytest.approx(expected[name].second)
        assert found["difference"] == pytest.approx(expected[name].difference)
        assert tuple(found["interval"]) == pytest.approx(expected[name].interval)
        assert found["p_value"] == pytest.approx(expected[name].p_value)
    test = mcnemar(*arrays)
    assert told["mcnemar"]["first_only"] == test.first_only
    assert told["mcnemar"]["p_value"] == pytest.approx(test.p_value)
    one_alone = (first["y_pred"] == first["y_true"]) != (second["y_pred"] == first["y_true"])
    assert [(row["subject"], row["clip"]) for row in told["discordant"]] == list(
        first.loc[one_alone, ["subject", "clip"]].itertuples(index=False, name=None)
    )
    ours = (first["y_pred"] == first["y_true"]).groupby(first["subject"]).mean()
    assert {row["subject"]: row["first"] for row in told["by_subject"]} == pytest.approx(
        ours.to_dict()
    )
    gains = [row["first"] - row["second"] for row in told["by_subject"]]
    assert gains == sorted(gains, reverse=True)
    assert "a is better on these subjects" in " ".join(told["conclusion"])


def test_the_terminal_shows_figures_tests_and_clips_on_demand(runs, capsys):
    assert command(runs) == 0
    shown = capsys.readouterr().out
    assert "96 clips of 12 subjects; difference: a minus b" in shown
    done = compare_runs("a", "b", runs=runs, resamples=300)
    (line,) = [line for line in shown.splitlines() if line.startswith("UF1")]
    found = done.differences["uf1"]
    assert line.split()[:4] == [
        "UF1",
        f"{found.first:.3f}",
        f"{found.second:.3f}",
        f"{found.difference:+.3f}",
    ]
    assert f"a alone {done.clips.first_only}, b alone {done.clips.second_only}" in shown
    assert "McNemar's exact test" in shown
    assert "one run alone" not in shown
    assert shown.splitlines()[-1] == str(runs / "comparisons" / "a-vs-b.png")
    assert command(runs, "--clips", "--out", str(runs / "here.png")) == 0
    listed = capsys.readouterr().out.split("one run alone answered right:\n")[1].splitlines()
    assert listed[0].split() == ["subject", "clip", "y_true", "a", "b", "right"]
    assert len(listed) == 1 + done.clips.first_only + done.clips.second_only + 1
    for row in (line.split() for line in listed[1:-1]):
        assert row[2] == row[3 if row[-1] == "a" else 4]
    assert (runs / "here.png").is_file()


def test_the_picture_shows_each_difference_and_each_subject(runs):
    done = compare_runs("a", "b", runs=runs, resamples=300)
    path = draw_comparison(done, runs / "new folder" / "picture.png")
    pixels = np.asarray(Image.open(path).convert("L"))
    assert min(pixels.shape) > 500
    assert pixels.std() > 10
    differences = pd.DataFrame(
        {"difference": [0.1, -0.2], "low": [-0.1, -0.3], "high": [0.2, -0.1]}, index=["UF1", "UAR"]
    )
    above, below = comparison_figure(differences, done.subjects, ("a", "b")).axes
    assert [label.get_text() for label in above.get_yticklabels()] == ["UF1", "UAR"]
    (line,) = [line for line in above.lines if line.get_marker() == "o"]
    assert list(line.get_xdata()) == [0.1, -0.2]
    names = [f"{row.subject} ({row.clips})" for row in done.subjects.itertuples()]
    assert [label.get_text() for label in below.get_yticklabels()] == names
    left, right = below.get_xlim()
    assert left == -right


def test_no_difference_is_not_called_alike(tmp_path):
    make(tmp_path, draw_predictions(0.8, 10), draw_predictions(0.8, 11))
    said = conclusion(tmp_path)
    assert "No difference is shown" in said
    assert "does not show that they are equal" in said
    assert "two trained models, not two methods" in said


def test_five_subjects_cannot_show_anything(tmp_path):
    make(tmp_path, draw_predictions(9, 1, subjects=5), draw_predictions(-9, 2, subjects=5))
    done = compare_runs("a", "b", runs=tmp_path, resamples=300)
    assert done.differences["uf1"].p_value == 2 / 2**5
    said = " ".join(done.conclude())
    assert "5 subjects are too few for the test: were one run better for each of them" in said
    assert "p would still be 0.062" in said
    assert "Undecided: the interval leaves out zero and the test does not reject it" in said
    assert "McNemar's test finds a difference and the test by subject does not" in said
    assert "better on these subjects" not in said


def test_six_subjects_can(tmp_path):
    make(tmp_path, draw_predictions(9, 1, subjects=6), draw_predictions(-9, 2, subjects=6))
    said = conclusion(tmp_path)
    assert "too few" not in said
    assert "a is better on these subjects" in said


@pytest.mark.parametrize("subjects", [1, 2, 4])
def test_few_subjects_have_no_interval_and_json_has_null(tmp_path, capsys, subjects):
    make(
        tmp_path,
        draw_predictions(1, 1, subjects=subjects),
        draw_predictions(0, 2, subjects=subjects),
    )
    assert "Fewer than 5 subjects show nothing about other subjects" in conclusion(tmp_path)
    assert command(tmp_path, "--json") == 0
    figure = json.loads(capsys.readouterr().out)["figures"]["uf1"]
    assert figure["interval"] == [None, None]
    assert (figure["p_value"] is None) == (subjects == 1)
    assert command(tmp_path) == 0
    assert "none: too few subjects" in capsys.readouterr().out


def test_leaking_figures_beside_others_give_no_verdict(runs):
    change_metrics(runs / "a", leak="9 subjects are in both parts")
    said = conclusion(runs)
    assert "a leaks: 9 subjects are in both parts. Its figures are too good." in said
    assert "do not show which run is better" in said
    assert "better on these subjects" not in said
    change_metrics(runs / "b", leak="9 subjects are in both parts")
    assert "b leaks" in conclusion(runs)
    assert "a is better on these subjects" in conclusion(runs)


def test_unlike_editions_of_a_coding_sheet_are_named(runs):
    assert "coding sheets differ" not in conclusion(runs)
    record = json.loads((runs / "b" / "config.json").read_text())
    record["split"]["coding_sheet"] = "edition of 2019 (255 rows)"
    (runs / "b" / "config.json").write_text(json.dumps(record))
    assert "The coding sheets differ (a: unknown, b: edition of 2019 (255 rows))" in conclusion(
        runs
    )


def test_stand_in_data_and_unlike_protocols_are_named(runs):
    assert "nothing follows for CASME II" in conclusion(runs)
    assert "protocols differ" not in conclusion(runs)
    change_metrics(runs / "b", protocol="kfold")
    assert "The protocols differ (a: loso, b: kfold)" in conclusion(runs)


def test_mistakes_get_one_line(runs, capsys):
    predictions = draw_predictions(1, 1)
    write_run(runs / "fewer", draw_predictions(1, 1, subjects=11))
    write_run(runs / "people", predictions, corpus="casme2")
    other = {"positive": "surprise", "surprise": "positive"}
    write_run(runs / "classes", predictions.assign(y_true=predictions["y_true"].replace(other)))
    (runs / "untested").mkdir()
    (runs / "untested" / "config.json").write_bytes((runs / "a" / "config.json").read_bytes())
    cases = {
        ("a", "a"): "Two different runs must be named. Received: a twice.",
        ("a", "nobody"): "A run must have been trained. Received:",
        ("a", "../a"): "A run's name must be a plain folder name.",
        ("untested", "a"): "Evaluate it with: casme-tf evaluate --run untested",
        ("a", "fewer"): "the same clips only. Received: 8 clips in one table alone",
        ("a", "people"): "a on stand-in and people on casme2. Train both on one.",
        ("a", "classes"): "the same true classes. Received:",
    }
    for names, message in cases.items():
        assert main("compare", [*names, "--runs", str(runs)]) == 1
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith("error: ")
        assert message in line
    assert main("compare", ["a", "b", "--runs", str(runs), "--resamples", "9"]) == 1
    assert "--resamples must be at least 100. Received: 9." in capsys.readouterr().err
    assert command(runs, "--out", str(runs / "a" / "config.json" / "x.png")) == 1
    assert "must be writable" in capsys.readouterr().err
    assert not (runs / "comparisons").exists()


def test_it_does_without_tensorflow():
    code = (
        "import sys, casme_tf.evaluation.reports.compare_runs\n"
        "heavy = {'tensorflow', 'keras', 'cv2'} & set(sys.modules)\n"
        "sys.exit(str(heavy) if heavy else 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
