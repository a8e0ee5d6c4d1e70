import json
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from sklearn.metrics import accuracy_score, f1_score

from casme_tf.cli.main import main
from casme_tf.errors import UserError
from casme_tf.evaluation.evaluate import evaluate, evaluate_artifacts
from casme_tf.evaluation.reports.html import draw_pictures
from casme_tf.evaluation.results import summarize
from casme_tf.labels import CLASSES
from casme_tf.runs import ARTIFACTS


@pytest.fixture
def config(run, tmp_path) -> dict[str, Any]:
    return {"run": run.name, "runs": run.parent, "out": tmp_path, "resamples": 200}


def test_figures_are_those_of_the_written_predictions(run):
    metrics = json.loads((run / "metrics.json").read_text())
    predictions = pd.read_csv(run / "predictions.csv")
    y_true, y_pred = predictions["y_true"], predictions["y_pred"]
    figures = {name: figure["model"] for name, figure in metrics["figures"].items()}
    assert figures["accuracy"] == pytest.approx(accuracy_score(y_true, y_pred))
    assert figures["uf1"] == pytest.approx(f1_score(y_true, y_pred, average="macro"))
    assert figures["weighted_f1"] == pytest.approx(f1_score(y_true, y_pred, average="weighted"))
    assert np.sum(metrics["confusion"]) == len(predictions) == metrics["clips"]
    share = predictions[list(CLASSES)]
    np.testing.assert_allclose(share.sum(axis=1), 1, atol=1e-4)
    assert (share.idxmax(axis=1) == y_pred).all()


def test_the_test_clips_alone_are_measured_and_the_protocol_is_said(run):
    metrics = json.loads((run / "metrics.json").read_text())
    predictions = pd.read_csv(run / "predictions.csv")
    split = pd.read_csv(run / "split.csv")
    test = split[split["part"] == "test"]
    keys = set(map(tuple, predictions[["subject", "clip"]].to_numpy()))
    assert keys == set(map(tuple, test[["subject", "clip"]].to_numpy()))
    assert metrics["protocol"] == "subject-holdout"
    assert metrics["leak"] is None
    assert metrics["epoch_chosen_on"] == "validation subjects"
    train_classes = json.loads((run / "config.json").read_text())["split"]["parts"]["train"][
        "classes"
    ]
    assert metrics["largest_class"] == max(train_classes, key=train_classes.get)


@pytest.mark.slow
def test_artifacts_of_one_run_are_measured_side_by_side(config, run, tmp_path):
    table = evaluate_artifacts(**config)
    assert list(table.index) == ["model.keras", *ARTIFACTS]
    same = table.loc[["saved_model/1", "model_float32.tflite"]]
    np.testing.assert_allclose(same.filter(like="_change"), 0, atol=1e-9)
    exact = pd.read_csv(tmp_path / "model.keras" / "predictions.csv")
    int8 = pd.read_csv(tmp_path / "model_int8.tflite" / "predictions.csv")
    assert (int8["clip"] == exact["clip"]).all()
    for name, written in (("model.keras", exact), ("model_int8.tflite", int8)):
        accuracy = accuracy_score(written["y_true"], written["y_pred"])
        assert table.loc[name, "accuracy"] == pytest.approx(accuracy)
    loss = 100 * (table.loc["model_int8.tflite", "uf1"] - table.loc["model.keras", "uf1"])
    assert table.loc["model_int8.tflite", "uf1_change"] == pytest.approx(loss)


def test_artifacts_are_those_of_a_run_that_has_some(run, tmp_path, capsys):
    assert main("evaluate", ["--artifacts", "--model", str(run / "model_int8.tflite")]) == 1
    assert "Give the run alone" in capsys.readouterr().err
    bare = tmp_path / "bare"
    bare.mkdir()
    with pytest.raises(UserError, match="casme-tf export --run bare"):
        evaluate_artifacts("bare", runs=tmp_path)


def test_other_evaluations_leave_the_runs_figures_alone(run):
    before = (run / "metrics.json").read_bytes()
    done = evaluate(model=run / "model_int8.tflite", part="validation")
    assert done.folder == run / "evaluations" / "model_int8.tflite-validation"
    assert json.loads((done.folder / "metrics.json").read_text())["part"] == "validation"
    assert (run / "metrics.json").read_bytes() == before


@pytest.mark.slow
def test_pictures_are_drawn(config, run):
    done = evaluate(**config)
    paths = draw_pictures(done.metrics, done.predictions, done.frames, done.run, done.folder)
    assert {path.name for path in paths} == {"confusion.png", "examples.png", "training.png"}
    for path in paths:
        pixels = np.asarray(Image.open(path).convert("L"))
        assert min(pixels.shape) > 200
        assert pixels.std() > 10


def test_a_perfect_answer_beats_the_largest_class_and_a_constant_one_does_not():
    rng = np.random.default_rng(0)
    table = pd.DataFrame(
        {
            "subject": rng.choice([f"sub{i}" for i in range(8)], 80),
            "clip": [f"EP{i}" for i in range(80)],
            "y_true": rng.choice(CLASSES, 80, p=[0.4, 0.4, 0.1, 0.1]),
        }
    )
    perfect = summarize(
        table.assign(y_pred=table["y_true"]), "negative", classes=CLASSES, resamples=300
    )
    assert perfect["figures"]["accuracy"]["model"] == 1
    assert perfect["figures"]["accuracy"]["difference"][0] > 0.4
    constant = summarize(
        table.assign(y_pred="negative"), "negative", classes=CLASSES, resamples=300
    )
    assert constant["figures"]["accuracy"]["difference"] == [0, 0]
    assert constant["classes"]["positive"] == {"precision": None, "recall": 0, "f1": 0}


def test_what_cannot_be_measured_is_refused(config, run, tmp_path):
    with pytest.raises(UserError, match="Received: neither"):
        evaluate(**config | {"run": None})
    stranger = tmp_path / "model.keras"
    stranger.write_bytes((run / "model.keras").read_bytes())
    with pytest.raises(UserError, match="Name the run with --run"):
        evaluate(**config | {"run": None, "model": stranger})
    other = tmp_path / "other"
    other.mkdir()
    (other / "config.json").write_bytes((run / "config.json").read_bytes())
    (other / "model.keras").write_bytes((run / "model.keras").read_bytes())
    with pytest.raises(UserError, match="which is of other, with --run shared"):
        evaluate(**config | {"model": other / "model.keras"})
    with pytest.raises(UserError, match="--resamples must be at least 1"):
        evaluate(**config | {"resamples": 0})
    record = json.loads((other / "config.json").read_text())
    record["split"]["corpus"] = "casme2"
    (other / "config.json").write_text(json.dumps(record))
    (other / "split.csv").write_bytes((run / "split.csv").read_bytes())
    (other / "labels.txt").write_bytes((run / "labels.txt").read_bytes())
    with pytest.raises(UserError, match="trained on, casme2"):
        evaluate(run="other", runs=tmp_path)
    (other / "config.json").unlink()
    (other / "config.json").mkdir()
    with pytest.raises(UserError, match="must be readable"):
        evaluate(run="other", runs=tmp_path)
