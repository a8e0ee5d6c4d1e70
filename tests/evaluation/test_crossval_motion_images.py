"""`crossval --motion-images`: published motion of real clips, tested like any other data."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from support.html_page import read
from support.motion_images import write_motion_images

from casme_tf.cli.main import main

RUN = "svm-loso-megc3-samm-smic"


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    return write_motion_images(tmp_path_factory.mktemp("published"), subjects=4)


@pytest.fixture(scope="module")
def runs(published, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    words = ["--arch", "svm", "--no-baselines", "--resamples", "200"]
    assert main("crossval", [*words, "--motion-images", str(published), "--runs", str(folder)]) == 0
    return folder


def test_each_subject_of_each_database_is_a_fold_and_can_be_told_apart(runs):
    table = pd.read_csv(runs / RUN / "predictions.csv", dtype=str)
    assert len(table) == 48
    assert (table["fold"] == table["subject"]).all()
    assert table["fold"].nunique() == 8
    uf1 = json.loads((runs / RUN / "metrics.json").read_text())["figures"]["uf1"]
    assert uf1["model"] > 0.9  # each class moves another part


def test_figures_of_databases_add_up_to_the_pooled_ones(runs):
    measured = json.loads((runs / RUN / "metrics.json").read_text())
    parts = measured["by_database"]
    assert list(parts) == ["samm", "smic"]
    total = sum(np.array(part["confusion"]) for part in parts.values())
    assert total.tolist() == measured["confusion"]
    assert [part["subjects"] for part in parts.values()] == [4, 4]
    assert all(len(part["figures"]["uf1"]["interval"]) == 2 for part in parts.values())


def test_the_report_says_what_the_data_is_and_shows_each_database(runs):
    page = read(runs / RUN.replace("svm", "majority") / "report.html")
    text = " ".join(page.text.split())
    assert "motion images published by others" in text
    assert "By database" in text
    assert "Motion images show no faces" in text
    assert "stand-in" not in text


@pytest.mark.usefixtures("without_reports")
def test_the_same_call_again_keeps_the_runs(published, runs, capsys):
    words = ["--arch", "svm", "--no-baselines", "--resamples", "200"]
    assert main("crossval", [*words, "--motion-images", str(published), "--runs", str(runs)]) == 0
    captured = capsys.readouterr()
    assert f"{RUN}: kept" in captured.err
    assert f"{RUN}, smic" in captured.out


def test_compare_shows_each_database(runs, capsys):
    majority = RUN.replace("svm", "majority")
    assert main("compare", [RUN, majority, "--runs", str(runs), "--resamples", "200"]) == 0
    printed = capsys.readouterr().out
    assert "UF1, samm" in printed
    assert "UF1, smic" in printed


@pytest.mark.usefixtures("without_reports")
def test_one_database_alone_is_another_run(published, tmp_path):
    words = ["--arch", "majority", "--no-baselines", "--databases", "smic"]
    assert (
        main("crossval", [*words, "--motion-images", str(published), "--runs", str(tmp_path)]) == 0
    )
    assert (tmp_path / "majority-loso-megc3-smic").is_dir()


@pytest.mark.usefixtures("without_reports")
def test_labels_at_random_are_predicted_no_better_than_by_chance(published, tmp_path):
    folder = write_motion_images(tmp_path / "random", subjects=6, seed=1)
    index = pd.read_csv(folder / "index.csv", dtype=str, keep_default_na=False)
    labels = index["label"].to_numpy()
    index["label"] = np.random.default_rng(0).permutation(labels)
    index.to_csv(folder / "index.csv", index=False)
    words = ["--arch", "svm", "--no-baselines", "--resamples", "200"]
    assert main("crossval", [*words, "--motion-images", str(folder), "--runs", str(tmp_path)]) == 0
    measured = json.loads((tmp_path / RUN / "metrics.json").read_text())
    assert measured["figures"]["uar"]["model"] < 0.5


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--arch", "flow"], "hold no frames, and flow needs them"),
        (["--arch", "svm", "--head-motion", "none"], "--head-motion must be left out"),
        (["--arch", "svm", "--data-dir", "here"], "--data-dir must be left out"),
        (["--arch", "svm", "--scheme", "five"], "megc3"),
        (["--arch", "svm", "--databases", "casme9"], "must name some of samm, smic"),
    ],
)
def test_what_does_not_go_with_motion_images_takes_one_line(
    published, tmp_path, capsys, words, said
):
    call = [*words, "--motion-images", str(published), "--runs", str(tmp_path)]
    assert main("crossval", call) == 1
    error = capsys.readouterr().err
    assert said in error
    assert "Traceback" not in error
    assert not list(tmp_path.iterdir())


def test_databases_need_motion_images(tmp_path, capsys):
    call = ["--arch", "svm", "--databases", "smic", "--runs", str(tmp_path)]
    assert main("crossval", call) == 1
    assert "without --motion-images" in capsys.readouterr().err


@pytest.mark.usefixtures("without_reports")
def test_classes_of_tested_clips_decide_nothing_about_their_predictions(published, tmp_path):
    """Not the epoch either, which validation subjects choose."""
    changed = write_motion_images(tmp_path / "changed", subjects=4)
    index = pd.read_csv(changed / "index.csv", dtype=str, keep_default_na=False)
    one = (index["dataset"] == "samm") & (index["sub"] == "00")
    index.loc[one, "label"] = index.loc[one, "label"].to_numpy()[::-1]
    index.to_csv(changed / "index.csv", index=False)
    tables = []
    for folder in (published, changed):
        words = ["--arch", "ststnet", "--no-baselines", "--epochs", "3", "--choose-epoch"]
        words += ["--resamples", "200", "--run", "run", "--runs", str(tmp_path / folder.name)]
        assert main("crossval", [*words, "--motion-images", str(folder)]) == 0
        table = pd.read_csv(tmp_path / folder.name / "run" / "predictions.csv")
        tables.append(table[table["subject"] == "samm/00"])
    assert (tables[0]["y_true"] != tables[1]["y_true"]).any()
    answers = [table[["negative", "positive", "surprise"]].to_numpy() for table in tables]
    np.testing.assert_array_equal(*answers)
