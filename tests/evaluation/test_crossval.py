"""The verb `crossval`: runs of several architectures on the same folds, side by side."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import f1_score
from support.html_page import read

from casme_tf.cli.main import main
from casme_tf.datasets.pairs import load_pairs, select_clips
from casme_tf.errors import LeakError, UserError
from casme_tf.evaluation import metrics
from casme_tf.evaluation.cross_validation import cross_validate
from casme_tf.evaluation.crossval import crossval
from casme_tf.evaluation.evaluate import evaluate
from casme_tf.evaluation.settings import BASELINES, CrossvalConfig
from casme_tf.labels import CLASSES
from casme_tf.models import ARCHITECTURES
from casme_tf.training.learners import clip_inputs, resolve
from casme_tf.training.settings import TrainConfig
from casme_tf.training.train import train

ALL = tuple(ARCHITECTURES)
SLOW = ("flow", "siamese", "zero_shot")


@pytest.fixture(scope="module")
def settings(data_dir, tmp_path_factory) -> CrossvalConfig:
    return CrossvalConfig(
        arch=("flow", "siamese"),
        data_dir=data_dir,
        runs=tmp_path_factory.mktemp("crossval"),
        weights="none",
        frame_size=64,
        network_size=32,
        epochs=2,
        resamples=200,
    )


@pytest.fixture(scope="module")
def done(settings):
    return crossval(settings)


def flags(config: CrossvalConfig, **changes: object) -> list[str]:
    options = {
        "arch": config.arch[0],
        "data-dir": config.data_dir,
        "runs": config.runs,
        "weights": config.weights,
        "frame-size": config.frame_size,
        "network-size": config.network_size,
        "epochs": config.epochs,
        "resamples": config.resamples,
    } | {name.replace("_", "-"): value for name, value in changes.items()}
    return [f"--{name}={value}" for name, value in options.items()]


def test_every_architecture_stands_beside_the_baselines(done, settings):
    asked = [arch for arch in ALL if arch in (*settings.arch, *BASELINES)]
    assert [run.name for run in done.runs] == [f"{arch}-loso-four" for arch in asked]
    assert done.leak is None
    table = done.describe()
    for run in done.runs:
        written = json.loads((run / "metrics.json").read_text())
        figure = written["figures"]["uf1"]
        low, high = figure["interval"]
        row = next(line for line in table.splitlines() if line.startswith(f"{run.name} "))
        assert f"{figure['model']:.3f} ({low:.3f} … {high:.3f})" in row
        page = read(run / "report.html")
        assert all(f"{baseline}-loso-four" in page.text for baseline in BASELINES)


def test_figures_are_those_of_the_predictions_and_say_how_they_came_about(done, settings):
    clips = pd.DataFrame({"subject": load_pairs(settings.data_dir, 64).clips["subject"]})
    for run in done.runs:
        written = json.loads((run / "metrics.json").read_text())
        table = pd.read_csv(run / "predictions.csv")
        assert len(table) == len(clips)
        uf1 = f1_score(table["y_true"], table["y_pred"], average="macro", labels=CLASSES)
        assert written["figures"]["uf1"]["model"] == pytest.approx(uf1)
        assert written["protocol"] == "loso"
        assert written["seed"] == settings.seed
        assert "plain mean of the classes' F1 over the predictions of all folds" in written["f1"]
        assert written["epoch_chosen_on"] is None
        assert {"tensorflow", "keras", "scikit-learn"} <= written["versions"].keys()
        parts = pd.read_csv(run / "folds.csv")
        assert parts.groupby("fold")["part"].value_counts()["sub03"]["test"] == (
            (clips["subject"] == "sub03").sum()
        )


def test_the_majority_is_that_of_the_other_people(done, settings):
    table = pd.read_csv(settings.runs / "majority-loso-four" / "predictions.csv")
    for subject, answers in table.groupby("subject"):
        others = table.loc[table["subject"] != subject, "y_true"].value_counts()
        assert others[answers["y_pred"].iloc[0]] == others.max()


@pytest.mark.usefixtures("without_reports")
def test_the_same_call_again_keeps_what_is_there(done, settings, capsys):
    again = crossval(settings)
    assert "nothing was missing" in capsys.readouterr().err
    assert again.rows == done.rows
    for name in ("flow", "siamese"):
        shutil.move(settings.runs / f"{name}-loso-four", settings.runs / f"{name}-kept")
    before = (settings.runs / "svm-loso-four" / "predictions.csv").stat().st_mtime_ns
    again = crossval(replace(settings, arch=("flow",)))
    assert (settings.runs / "svm-loso-four" / "predictions.csv").stat().st_mtime_ns == before
    assert "svm-loso-four: kept, with the same settings" in capsys.readouterr().err
    assert again.rows["flow-loso-four"] == done.rows["flow-loso-four"]
    for file in ("predictions.csv", "histories.csv"):
        first, second = (settings.runs / f"flow-{x}" / file for x in ("kept", "loso-four"))
        assert first.read_bytes() == second.read_bytes()
    with pytest.raises(UserError, match=r"majority-loso-four, which differs in seed.*--overwrite"):
        crossval(replace(settings, arch=("ststnet",), seed=99, baselines=False))


# motion_net takes the inputs of ststnet, and has longer to learn; zero_shot learns nothing.
@pytest.mark.parametrize(
    "arch",
    [
        pytest.param(name, marks=pytest.mark.slow if name in SLOW else ())
        for name in ALL
        if name not in ("majority", "motion_net")
    ],
)
def test_labels_at_random_are_answered_by_chance_whatever_the_architecture(arch, settings):
    """The whole way from frames to answers: were a clip's class to leak, it would be answered."""
    clips = select_clips(load_pairs(settings.data_dir, 64), "four")
    weights = None if ARCHITECTURES[arch].weights == "drawn" else "none"
    config = replace(settings, weights=weights, epochs=12)
    fitting, shared = resolve(arch, config, 4), clip_inputs(config, clips)
    labels = np.random.default_rng(5).integers(0, 4, len(clips.labels))
    table = cross_validate(
        fitting.make_model,
        fitting.inputs(shared),
        labels,
        clips.subjects,
        mirror=shared.mirror(fitting.fit.inputs) if fitting.augments else None,
        class_names=CLASSES,
        epochs=12,
    )
    y_true, y_pred = (table[c].map(list(CLASSES).index).to_numpy() for c in ("y_true", "y_pred"))
    matrices = metrics.by_subject(y_true, y_pred, table["subject"].to_numpy(), 4)
    low, high = metrics.subject_interval(metrics.uar, matrices)
    # Three standard errors: one in twenty would leave 95% intervals by chance. Below chance is no
    # leak: labels drawn too often in the tested clips are too rare in those that train.
    assert (low + high) / 2 - 0.25 < 1.5 * (high - low) / 2


def one_fold(config: CrossvalConfig) -> pd.DataFrame:
    """Predictions for the subjects that `train` keeps for the test."""
    crossval(replace(config, run="one", protocol="subject-holdout", baselines=False))
    return pd.read_csv(config.runs / "one" / "predictions.csv")


def require_alike(predictions: pd.DataFrame, others: pd.DataFrame) -> None:
    assert predictions["clip"].tolist() == others["clip"].tolist()
    np.testing.assert_allclose(predictions[list(CLASSES)], others[list(CLASSES)], atol=2e-3)


@pytest.mark.usefixtures("without_reports")
def test_train_fits_what_one_fold_of_crossval_fits(settings, tmp_path):
    options = {
        name: getattr(settings, name)
        for name in ("data_dir", "weights", "frame_size", "network_size", "epochs", "seed")
    }
    folder = train(TrainConfig(arch="ststnet", runs=tmp_path, **options))
    evaluate("ststnet", runs=tmp_path)
    folds = one_fold(replace(settings, arch=("ststnet",), runs=tmp_path))
    require_alike(pd.read_csv(folder / "predictions.csv"), folds)


@pytest.mark.usefixtures("without_reports")
def test_train_fits_heads_on_resnet_as_one_fold_of_crossval_does(run, settings, tmp_path):
    record = json.loads((run / "config.json").read_text())["train"]
    names = ("epochs", "batch_size", "learning_rate", "choose_epoch", "network_size", "weights")
    options = {name: record[name] for name in names}
    folds = one_fold(replace(settings, arch=("flow",), runs=tmp_path, **options))
    require_alike(pd.read_csv(run / "predictions.csv"), folds)


def test_the_random_split_is_marked_wherever_its_figures_are(settings, capsys):
    words = flags(settings, arch="svm", protocol="random", seed=0)
    assert main("crossval", [*words, "--no-baselines"]) == 0
    told = capsys.readouterr()
    assert "svm-random-four (LEAKS)" in told.out
    assert "a model that recognizes subjects" in told.err
    page = read(settings.runs / "svm-random-four" / "report.html")
    assert "a model that recognizes subjects" in page.banners[0]


@pytest.mark.slow
@pytest.mark.parametrize(("scheme", "classes"), [("megc3", 3), ("five", 5)])
def test_results_come_in_the_classes_of_the_literature(scheme, classes, settings):
    few = replace(settings, arch=("svm",), scheme=scheme, protocol="kfold", folds=3)
    done = crossval(few)
    table = pd.read_csv(done.runs[1] / "predictions.csv")
    assert done.runs[1].name == f"svm-kfold-{scheme}"
    names = (done.runs[1] / "labels.txt").read_text().split()
    assert len(names) == classes
    assert set(table["y_true"]) <= set(names)
    assert table["fold"].nunique() == 3


@pytest.mark.slow
def test_a_chosen_epoch_is_chosen_on_other_people(settings):
    few = replace(settings, arch=("ststnet",), baselines=False, run="chosen", choose_epoch=True)
    done = crossval(replace(few, protocol="kfold", folds=2))
    written = json.loads((settings.runs / "chosen" / "metrics.json").read_text())
    assert written["epoch_chosen_on"] == "validation subjects"
    parts = pd.read_csv(settings.runs / "chosen" / "folds.csv")
    people = parts.groupby(["fold", "part"])["subject"].agg(set).unstack()
    for _, fold in people.iterrows():
        assert not fold["validation"] & (fold["train"] | fold["test"])
    histories = pd.read_csv(settings.runs / "chosen" / "histories.csv")
    assert histories["val_loss"].notna().all()
    assert len(done.runs) == 2


def test_weights_that_saw_the_tested_are_refused(settings, run):
    seen = replace(settings, arch=("flow",), run="seen", weights=str(run / "model.keras"))
    with pytest.raises(LeakError, match=r"must not have been trained on a tested.*run shared"):
        crossval(seen)


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"frame_size": 32}, "--frame-size must be from 64 to 512. Received: 32."),
        ({"resamples": 0}, "--resamples must be at least 1. Received: 0."),
        ({"learning_rate": 0}, "--learning-rate must be from 1e-12 to 10. Received: 0.0."),
        ({"workers": 0}, "--workers must be at least 1. Received: 0."),
        (
            {"protocol": "kfold", "folds": 99},
            "number of folds must be from 2 to the number of subjects",
        ),
        ({"run": "a/b"}, "plain folder name"),
        ({"weights": "nowhere.h5"}, "'imagenet', 'none' or the path of a weights file"),
        ({"data_dir": "nowhere"}, "nowhere"),
        ({"arch": "zero_shot"}, "must have drawn weights for the classes of four, megc3"),
    ],
)
def test_a_mistake_gets_one_line(changes, line, settings, capsys):
    assert main("crossval", flags(settings, **({"run": "wrong"} | changes))) == 1
    told = capsys.readouterr().err.strip()
    assert told.startswith("error: ")
    assert line in told
    assert "\n" not in told
    assert not list(Path(settings.runs).glob("*wrong*"))
