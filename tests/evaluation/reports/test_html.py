"""The report says what the run's files say, holds all that it shows, and hides nothing."""

import base64
import io
import json
import re
import shutil
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from sklearn.metrics import average_precision_score, precision_recall_fscore_support
from support.drawn_runs import draw_histories, draw_predictions, write_run
from support.html_page import Page, read

from casme_tf.cli.main import main
from casme_tf.datasets.pairs import load_pairs
from casme_tf.errors import UserError
from casme_tf.evaluation.comparison import compare
from casme_tf.evaluation.reports.figures import kept_epochs, training_figure
from casme_tf.evaluation.reports.html import write_report
from casme_tf.formatting import interval, number, p_value
from casme_tf.labels import CLASSES

RECORDS = ("config.json", "metrics.json", "predictions.csv", "history.csv", "split.csv")


def change_metrics(run: Path, **changes: object) -> None:
    content = json.loads((run / "metrics.json").read_text())
    (run / "metrics.json").write_text(json.dumps(content | changes))


def decode(uri: str) -> bytes:
    return base64.b64decode(uri.split(";base64,")[1])


@pytest.fixture(scope="module")
def trained(run, tmp_path_factory) -> Path:
    """The shared run's records, in a folder of its own."""
    folder = tmp_path_factory.mktemp("trained") / "shared"
    folder.mkdir()
    for name in RECORDS:
        shutil.copy(run / name, folder)
    return folder


@pytest.fixture(scope="module")
def trained_page(trained) -> Page:
    return read(write_report(trained))


@pytest.fixture
def crossval(tmp_path) -> Path:
    return write_run(tmp_path / "runs" / "drawn", draw_predictions(0.5, 1))


def test_figures_are_those_of_a_real_run(trained, trained_page):
    measured = json.loads((trained / "metrics.json").read_text())
    table = trained_page.table("Figure", "This run", "95% interval")
    names = {
        "accuracy": "Accuracy",
        "weighted_f1": "Weighted F1",
        "weighted_precision": "Weighted precision",
        "uf1": "UF1",
        "uar": "UAR",
    }
    for key, figure in measured["figures"].items():
        value, bounds, _, largest, gain, _ = table[names[key]]
        assert value == f"{figure['model']:.3f}"
        assert bounds == interval(figure["interval"])
        assert largest == f"{figure['largest_class']:.3f}"
        assert gain == interval(figure["difference"], "+.3f")
    assert trained_page.headings[0] == "shared"
    assert f"protocol {measured['protocol']}" in trained_page.text
    assert "the one with the lowest loss on validation subjects" in trained_page.text
    split = json.loads((trained / "config.json").read_text())["split"]["parts"]
    parts = trained_page.table("Part")
    for name in ("train", "validation", "test"):
        counts = [split[name]["classes"].get(label, 0) for label in CLASSES]
        told = [split[name]["clips"], len(split[name]["subjects"]), *counts]
        assert parts[name] == list(map(str, told))


def test_classes_and_confusion_are_those_of_scikit_learn(trained, trained_page):
    table = pd.read_csv(trained / "predictions.csv")
    y_true, y_pred = table["y_true"], table["y_pred"]
    scores = precision_recall_fscore_support(y_true, y_pred, labels=CLASSES, zero_division=np.nan)
    by_class = trained_page.table("Class")
    counts = trained_page.table("true ↓ answered →")
    for i, name in enumerate(CLASSES):
        clips, subjects, answered, precision, recall, f1, average, _ = by_class[name]
        assert int(clips) == scores[3][i] == int(counts[name][-1])
        assert int(subjects) == table.loc[y_true == name, "subject"].nunique()
        assert int(answered) == (y_pred == name).sum()
        shown = [number(score[i]) for score in scores[:3]]
        assert [precision, recall, f1] == shown
        assert float(average) == pytest.approx(
            average_precision_score(y_true == name, table[name]), abs=6e-4
        )
        for j, other in enumerate(CLASSES):
            count = ((y_true == name) & (y_pred == other)).sum()
            assert counts[name][j].split()[0] == str(count)
            assert counts[name][j].split()[1] == f"{100 * count / scores[3][i]:.0f}%"


def test_the_most_confidently_wrong_clips_are_shown_with_their_own_frames(
    trained, trained_page, data_dir
):
    table = pd.read_csv(trained / "predictions.csv")
    wrong = table[table["y_true"] != table["y_pred"]]
    wrong = wrong.assign(confidence=wrong[list(CLASSES)].max(axis=1))
    wrong = wrong.sort_values("confidence", ascending=False, kind="stable").head(6)
    jpegs = [image for image in trained_page.images if image["src"].startswith("data:image/jpeg")]
    assert len(jpegs) == 3 * len(wrong)
    pairs = load_pairs(data_dir, 64)
    place = {key: i for i, key in enumerate(pairs.clips[["subject", "clip"]].itertuples(False))}
    for i, clip in enumerate(wrong.itertuples()):
        key = (clip.subject, clip.clip)
        for name, image in zip(("onset", "apex"), jpegs[3 * i :], strict=False):
            assert image["alt"] == f"{name.capitalize()} frame of {' / '.join(key)}"
            pixels = np.asarray(Image.open(io.BytesIO(decode(image["src"]))), dtype=float)
            expected = pairs.frames[name][place[key]]
            assert np.abs(pixels - expected).mean() < 3
        answered = f"answered {clip.y_pred} ({clip.confidence:.3f})"
        assert f"{' / '.join(key)} is {clip.y_true}" in trained_page.text
        assert answered in trained_page.text
    (wheel,) = [image for image in trained_page.images if image["src"].startswith("data:image/png")]
    disc = np.asarray(Image.open(io.BytesIO(decode(wheel["src"]))))
    right, left = disc[48, 94, :3].astype(int), disc[48, 1, :3].astype(int)
    assert right.argmax() == 0
    assert right[0] - right[1:].max() > 100  # red
    assert left[0] < 60 < left[1:].min()  # cyan
    assert disc[0, 0, 3] == 0


def test_frames_of_real_people_come_with_a_word_on_their_license(trained, tmp_path, data_dir):
    folder = shutil.copytree(trained, tmp_path / "people")
    record = json.loads((folder / "config.json").read_text())
    record["split"]["corpus"] = "casme2"
    (folder / "config.json").write_text(json.dumps(record))
    pairs = replace(load_pairs(data_dir, 64), corpus="casme2")
    page = read(write_report(folder, pairs=pairs))
    assert any("holds frames of the data set" in banner for banner in page.banners)
    assert "stand-in" not in page.text
    # The stand-in has the names of the real clips, but must not be shown in their place.
    page = read(write_report(folder))
    assert "The data set at hand is another: stand-in." in page.text
    assert not any(image["src"].startswith("data:image/jpeg") for image in page.images)


def test_stand_in_data_are_marked_wherever_figures_are(trained_page):
    assert trained_page.banners == [
        "Trained and measured on stand-in data The faces are drawn, no person was filmed, and no "
        "figure here says anything about CASME II or about real micro-expressions."
    ]
    marked = [heading for heading in trained_page.headings if heading.endswith("stand-in data")]
    assert [heading.split()[0] for heading in marked] == [
        "Result",
        "Classes",
        "Subjects",
        "Calibration",
    ]
    assert "<title>shared (stand-in data): report</title>" in trained_page.source


def test_a_leak_is_named_with_its_reason(tmp_path):
    leak = "12 subjects are in both parts"
    run = write_run(tmp_path / "drawn", draw_predictions(1, 1), corpus="casme2", leak=leak)
    page = read(write_report(run, frames=False))
    assert page.banners[0].startswith(f"These figures leak {leak}. These figures are too good.")
    assert sum(heading.endswith("leaking") for heading in page.headings) == 4
    assert "(LEAKS SUBJECTS)" in page.source.split("</title>")[0]
    change_metrics(run, leak=None)
    page = read(write_report(run, frames=False))
    assert "leak" not in page.text.lower()
    assert page.banners == []


def test_every_subject_of_a_cross_validation_is_shown_best_first(crossval):
    predictions = pd.read_csv(crossval / "predictions.csv")
    right = predictions["y_true"] == predictions["y_pred"]
    share = right.groupby(predictions["subject"]).mean()
    page = read(write_report(crossval))
    rows = page.table("Subject", "Right")
    assert set(rows) == set(share.index)
    shown = [float(cells[-1]) for cells in rows.values()]
    assert shown == sorted(shown, reverse=True)
    for subject, cells in rows.items():
        assert cells[0] == f"{right[predictions['subject'] == subject].sum()} of 8"
        assert float(cells[-1]) == pytest.approx(share[subject], abs=5e-4)
    assert f"runs from {share.min():.3f} to {share.max():.3f}" in page.text
    assert f"Over subjects the mean is {share.mean():.3f}" in page.text
    assert f"the median is {share.median():.3f}" in page.text
    largest = (predictions["y_true"] == "negative").groupby(predictions["subject"]).mean()
    assert f"For {(share < largest).sum()} of them always answering negative" in page.text
    assert "12 folds, one model each" in page.text
    assert "four: negative, other, positive, surprise" in page.text
    assert "fixed beforehand" in page.text
    change_metrics(crossval, epochs=None)
    assert "fixed beforehand" not in read(write_report(crossval, frames=False)).text
    assert "pool the probabilities of 12 models" in page.text


def test_calibration_is_that_of_the_metrics(crossval):
    measured = json.loads((crossval / "metrics.json").read_text())["calibration"]
    page = read(write_report(crossval, frames=False))
    (error, _), (brier, shares_alone) = page.table("Figure", "This run", "For comparison").values()
    assert [error, brier] == [f"{measured[key]:.3f}" for key in ("ece", "brier")]
    shares = pd.read_csv(crossval / "predictions.csv")["y_true"].value_counts(normalize=True)
    assert shares_alone.endswith(f": {1 - (shares**2).sum():.3f}")
    change_metrics(crossval, calibration={**measured, "ece": 0.4321})
    assert "0.432" in read(write_report(crossval, frames=False)).text


def test_probabilities_are_judged_by_what_chance_would_make(tmp_path):
    sharp = draw_predictions(1, 1)
    shares = sharp[list(CLASSES)].to_numpy() ** 6
    sharp[list(CLASSES)] = shares / shares.sum(1, keepdims=True)
    page = read(write_report(write_run(tmp_path / "sharp", sharp), frames=False))
    assert "too sure of itself" in page.text
    true = draw_predictions(1, 1, subjects=40)
    rng = np.random.default_rng(0)
    cumulated = true[list(CLASSES)].to_numpy().cumsum(1)
    true["y_true"] = np.asarray(CLASSES)[(rng.random((len(true), 1)) > cumulated).sum(1).clip(0, 3)]
    page = read(write_report(write_run(tmp_path / "true", true), frames=False))
    assert "do not show that its probabilities are off" in page.text


def test_other_runs_stand_beside_it_with_the_paired_difference(tmp_path):
    ours, theirs = draw_predictions(1.5, 1), draw_predictions(0.3, 2)
    run = write_run(tmp_path / "ours", ours)
    other = write_run(tmp_path / "theirs", theirs.sample(frac=1, random_state=0), leak="a reason")
    figures = json.loads((other / "metrics.json").read_text())["figures"]
    page = read(write_report(run, [other], frames=False))
    rows = page.table("Run")
    assert list(rows) == ["ours (this run)", "theirs leaks", "always negative"]
    index = {name: i for i, name in enumerate(CLASSES)}
    arrays = [ours["y_true"], ours["y_pred"], theirs["y_pred"]]
    paired = compare(*(a.map(index).to_numpy() for a in arrays), ours["subject"].to_numpy(), 4)
    *shown, minus = rows["theirs leaks"]
    for cell, figure in zip(shown, figures.values(), strict=True):
        assert cell == f"{figure['model']:.3f} {interval(figure['interval'])}"
    expected = paired["uf1"]
    assert minus == f"{expected.difference:+.3f} {interval(expected.interval, '+.3f')}"


def test_runs_on_the_same_clips_stand_beside_it_unasked(tmp_path, capsys):
    ours = write_run(tmp_path / "ours", draw_predictions(1, 1), arch="flow")
    write_run(tmp_path / "same", draw_predictions(1, 2), arch="svm")
    write_run(tmp_path / "shorter", draw_predictions(1, 3, clips=7), arch="ststnet")
    write_run(tmp_path / "otherwise", draw_predictions(1, 4), arch="ststnet", protocol="kfold")
    command = ["--run=ours", f"--runs={tmp_path}", "--no-frames"]
    assert main("report", command) == 0
    note = capsys.readouterr().err
    assert note.startswith("note: no majority, ststnet on these clips to compare ours with.")
    assert (
        "casme-tf crossval --arch majority svm ststnet --run ours-baselines --protocol loso" in note
    )
    rows = read(ours / "report.html").table("Run", "Accuracy")
    assert [name for name in rows if not name.startswith("always")] == ["ours (this run)", "same"]
    for name in ("majority", "ststnet"):
        write_run(tmp_path / name, draw_predictions(1, 5), arch=name)
    assert main("report", command) == 0
    assert capsys.readouterr().err == ""
    rows = read(ours / "report.html").table("Run", "Accuracy")
    assert {"same", "majority", "ststnet"} <= set(rows)


def test_what_cannot_stand_beside_a_run_is_refused(tmp_path):
    run = write_run(tmp_path / "ours", draw_predictions(1, 1))
    fewer = write_run(tmp_path / "fewer", draw_predictions(1, 1, subjects=11))
    with pytest.raises(UserError, match=r"^fewer cannot be compared with ours\. .* same clips"):
        write_report(run, [fewer])
    people = write_run(tmp_path / "people", draw_predictions(1, 2), corpus="casme2")
    with pytest.raises(UserError, match="one corpus only"):
        write_report(run, [people])
    assert not (run / "report.html").exists()


def test_training_is_drawn_for_all_folds_and_their_mean(crossval):
    predictions = pd.read_csv(crossval / "predictions.csv")
    assert "no record of epochs" in read(write_report(crossval, frames=False)).text
    histories = draw_histories(predictions)
    histories.to_csv(crossval / "histories.csv", index=False)
    page = read(write_report(crossval, frames=False))
    assert "Thin: each of 12 folds" in page.text
    lengths = histories.groupby("fold").size()
    assert f"{lengths.min()} to {lengths.max()} epochs" in page.text
    best = histories.loc[histories.groupby("fold")["val_loss"].idxmin()].set_index("fold")["epoch"]
    pd.testing.assert_series_equal(kept_epochs(histories), best)
    assert f"in epochs {best.min() + 1} to {best.max() + 1}" in page.text

    (axes,) = training_figure(histories, "loss", "validation").axes
    lines = {line.get_label(): line for line in axes.lines if line.get_label()[0] != "_"}
    assert set(lines) == {"training, mean of folds", "validation, mean of folds"}
    assert len(axes.lines) == 2 * (12 + 1)
    mean = np.asarray(lines["training, mean of folds"].get_ydata(), dtype=float)
    expected = histories.groupby("epoch")["loss"].mean().to_numpy()
    np.testing.assert_allclose(mean[: lengths.min()], expected[: lengths.min()])
    assert np.isnan(mean[lengths.min() :]).all()


def test_a_training_without_validation_is_drawn_too(crossval):
    table = pd.DataFrame({"epoch": [0, 1, 2], "loss": [1.0, 0.5, 0.25]})
    table.to_csv(crossval / "history.csv", index=False)
    page = read(write_report(crossval, frames=False))
    assert "3 epochs, no validation clips." in page.text
    assert len([image for image in page.images if "by epoch" in image["alt"]]) == 1


def test_figures_are_pictures_with_text_in_the_reader_s_font(crossval):
    page = read(write_report(crossval, frames=False))
    drawings = [image for image in page.images if image["src"].startswith("data:image/svg+xml")]
    assert len(drawings) == len(CLASSES) + 1
    for image in drawings:
        svg = decode(image["src"]).decode()
        texts = [node.text for node in ET.fromstring(svg).iter() if node.tag.endswith("}text")]
        assert {"precision", "recall"} <= set(texts) or "share right" in texts
        assert "DejaVu" not in svg
        assert "system-ui" in svg


def test_a_report_is_the_same_file_each_time(crossval):
    assert write_report(crossval).read_bytes() == write_report(crossval).read_bytes()


def test_without_the_data_set_the_clips_are_listed_and_no_home_is_named(crossval, monkeypatch):
    monkeypatch.setenv("HOME", str(crossval.parent))
    page = read(write_report(crossval))
    assert "Frames are not shown. The data set is not at hand:" in page.text
    assert str(crossval.parent) not in page.text
    (table,) = [t[1:] for t in page.tables if t[0][:2] == ["Subject", "Clip"]]
    confidence = [float(row[-1]) for row in table]
    assert len(confidence) == 6
    assert confidence == sorted(confidence, reverse=True)
    page = read(write_report(crossval, frames=False))
    assert "They were left out on request." in page.text


def test_names_cannot_break_the_page(tmp_path):
    odd = "<b>&{{7*7}}"
    predictions = draw_predictions(1, 1)
    names = {subject: f"<i>{subject}" for subject in predictions["subject"]}
    predictions["subject"] = predictions["subject"].map(names)
    run = write_run(tmp_path / odd, predictions, leak="<script>alert(1)</script>")
    page = Page(write_report(run, frames=False).read_text())
    assert page.headings[0] == odd
    assert "<i>sub01" in page.text
    assert "<script>alert(1)</script>. These figures" in page.banners[0]


def test_what_cannot_be_computed_is_a_dash(tmp_path):
    predictions = draw_predictions(1, 1)
    never = predictions.assign(surprise=0.0)
    never = never[never["y_true"] != "surprise"]
    shares = never[list(CLASSES)].to_numpy()
    never[list(CLASSES)] = shares / shares.sum(1, keepdims=True)
    never["y_pred"] = never[list(CLASSES)].idxmax(axis=1)
    page = read(write_report(write_run(tmp_path / "never", never), frames=False))
    assert page.table("Class")["surprise"] == ["0", "0", "0", *["–"] * 5]
    assert page.table("true ↓ answered →")["surprise"] == ["0 –"] * 4 + ["0"]
    # json.dumps writes NaN, which is no JSON, where a computation gave one.
    run = write_run(tmp_path / "absent", predictions)
    classes = json.loads((run / "metrics.json").read_text())["classes"]
    change_metrics(run, classes=classes | {"other": dict.fromkeys(classes["other"], float("nan"))})
    assert "NaN" in (run / "metrics.json").read_text()
    assert read(write_report(run, frames=False)).table("Class")["other"][3:6] == ["–"] * 3


def test_one_subject_gives_figures_without_intervals(tmp_path):
    run = write_run(tmp_path / "one", draw_predictions(1, 1, subjects=1, clips=20))
    page = read(write_report(run, frames=False))
    assert page.table("Figure", "This run", "95% interval")["UF1"][1] == "none: too few subjects"
    assert "So few subjects give no interval" in page.text
    assert "One subject was tested: sub01" in page.text


def test_a_perfect_run_has_nothing_wrong_to_show(tmp_path):
    perfect = draw_predictions(50, 1)
    page = read(write_report(write_run(tmp_path / "perfect", perfect)))
    assert "No clip was answered wrong." in page.text
    assert page.table("Figure", "This run", "95% interval")["Accuracy"][0] == "1.000"


BROKEN = {
    "metrics.json": [
        (lambda run: (run / "metrics.json").unlink(), "casme-tf evaluate --run drawn"),
        (lambda run: (run / "metrics.json").write_text("{"), "must be what this version writes"),
        (
            lambda run: (run / "metrics.json").write_text('{"part": "test"}'),
            "no arch, by_subject",
        ),
        (lambda run: change_metrics(run, figures={"uf1": {}}), "KeyError: 'model'"),
        (lambda run: change_metrics(run, clips=None), "TypeError"),
        (lambda run: change_metrics(run, protocol=None), "a value to be printed is None"),
        (lambda run: change_metrics(run, confusion=[[1]]), "of one evaluation"),
    ],
    "config.json": [(lambda run: (run / "config.json").unlink(), "casme-tf train")],
    "predictions.csv": [
        (lambda run: (run / "predictions.csv").unlink(), "has no predictions.csv"),
        (lambda run: change_predictions(run, drop="y_pred"), "no column y_pred"),
        (lambda run: change_predictions(run, negative="much"), "Unable to parse"),
        (lambda run: change_predictions(run, y_true="joy"), "'joy'"),
        (lambda run: change_predictions(run, rows=0), "no clips"),
    ],
    "history.csv": [
        (lambda run: (run / "history.csv").write_text("epoch,loss\n0,1\n0,2\n"), "one twice"),
        (lambda run: (run / "history.csv").write_text("epoch\n0\n"), "table of epochs"),
    ],
}


def change_predictions(run: Path, drop: str = "", rows: int = 99, **values: str) -> None:
    path = run / "predictions.csv"
    table = pd.read_csv(path, dtype=str).drop(columns=drop or []).head(rows)
    for name, value in values.items():
        table.loc[3, name] = value
    table.to_csv(path, index=False)


@pytest.mark.parametrize(
    ("spoil", "message"), [case for cases in BROKEN.values() for case in cases]
)
def test_records_that_do_not_fit_are_refused_and_the_old_report_is_kept(crossval, spoil, message):
    (crossval / "report.html").write_text("old")
    spoil(crossval)
    with pytest.raises(UserError, match=re.escape(message)) as caught:
        write_report(crossval, frames=False)
    assert "\n" not in str(caught.value)
    assert (crossval / "report.html").read_text() == "old"
    assert not list(crossval.glob(".*"))


def test_the_verb_writes_it(crossval, trained, data_dir, capsys):
    where = ["--runs", str(crossval.parent)]
    write_run(crossval.parent / "other", draw_predictions(0, 5))
    assert main("report", ["--run", "drawn", "--beside", "other", "--no-frames", *where]) == 0
    assert capsys.readouterr().out == f"{crossval / 'report.html'}\n"
    assert "other" in read(crossval / "report.html").table("Run")
    assert main("report", ["--run", "nobody", *where]) == 1
    assert capsys.readouterr().err.startswith("error: A run must have been trained.")
    given = ["--run", "shared", "--runs", str(trained.parent), "--data-dir", str(data_dir.parent)]
    assert main("report", given) == 0
    assert "The data set is not at hand" in read(trained / "report.html").text


def test_figures_are_written_alike():
    assert [number(x) for x in (0.12349, -0.5, None, float("nan"))] == ["0.123", "−0.500", "–", "–"]
    assert [number(x, "+.2f") for x in (0.004, -0.004, 0.3)] == ["0.00", "0.00", "+0.30"]
    assert interval([-0.1, 0.25], "+.2f") == "−0.10 … +0.25"
    assert interval([None, None]) == interval([0.1, float("nan")]) == "none: too few subjects"
    assert [p_value(x) for x in (0.0009, 0.001, 0.25, None)] == ["< 0.001", "0.001", "0.250", "–"]
