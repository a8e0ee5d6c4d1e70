"""Every artifact answers what the Keras model answers, where neither this package nor TF is."""

import json
import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path

import keras
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from support.elsewhere import KERAS, LITERT, SAVED_MODEL, answer_elsewhere
from support.tflite_contents import read_contents

from casme_tf.arrays import rows_of
from casme_tf.cli.main import main
from casme_tf.datasets.pairs import load_pairs
from casme_tf.errors import UserError
from casme_tf.export.artifacts import load_artifact, predict_in_batches, read_keras_model
from casme_tf.export.export import EIGHT_BITS, EXACT, TOLERANCES, Parity, export_run, measure_parity
from casme_tf.labels import CLASSES
from casme_tf.runs import ARTIFACTS, NUMBER_FORMATS, read_split
from casme_tf.tflite_file import MODEL_IDENTIFIER, add_metadata, pack, read_labels

TFLITE = [f"model_{form}.tflite" for form in NUMBER_FORMATS]


@pytest.fixture(scope="module")
def frames(run, data_dir) -> dict[str, np.ndarray]:
    """The pairs on which the export compared its artifacts: validation, and all of training."""
    pairs = load_pairs(data_dir, 64)
    parts = pairs.clips.merge(read_split(run), on=["subject", "clip"])["part"]
    chosen = [np.flatnonzero(parts == part) for part in ("validation", "train")]
    return rows_of(pairs.frames, np.concatenate(chosen))


@pytest.fixture(scope="module")
def model(run) -> keras.Model:
    """The run's model, traced once for all tests."""
    return read_keras_model(run / "model.keras")


@pytest.fixture(scope="module")
def expected(model, frames) -> np.ndarray:
    return predict_in_batches(model, frames)


@pytest.fixture
def copied(run, model, tmp_path, monkeypatch) -> Path:
    """A copy of the run to export again, whose artifacts are made by copying."""

    def build(model, record, training, work, formats):
        for name in (ARTIFACTS[0], *(f"model_{form}.tflite" for form in formats)):
            (work / name).parent.mkdir(parents=True, exist_ok=True)
            copier = shutil.copytree if (run / name).is_dir() else shutil.copyfile
            copier(run / name, work / name)

    monkeypatch.setattr("casme_tf.export.export._build", build)
    monkeypatch.setattr("casme_tf.export.export._MIN_PAIRS", 10)
    monkeypatch.setattr("casme_tf.export.export.load_model", lambda path: model)
    return shutil.copytree(run, tmp_path / "copy")


@pytest.fixture(scope="module")
def parity(run) -> dict:
    return json.loads((run / "parity.json").read_text())


def assert_as_measured(answer: np.ndarray, expected: np.ndarray, row: dict) -> None:
    """The answers differ from the Keras model's as parity.json says."""
    difference = np.abs(answer - expected)
    assert difference.max() == pytest.approx(row["largest_difference"], abs=2e-4)
    assert difference.mean() == pytest.approx(row["mean_difference"], abs=2e-4)
    same = (answer.argmax(axis=1) == expected.argmax(axis=1)).mean()
    assert row["agreement"] >= same - 0.5 / len(answer)  # near ties count as the same


@pytest.mark.slow
def test_the_keras_file_answers_where_no_model_is_built(run, frames, expected, tmp_path):
    answer = answer_elsewhere(KERAS, run / "model.keras", frames, tmp_path)
    np.testing.assert_allclose(answer, expected, atol=1e-5)


def test_the_saved_model_answers_without_this_package(run, frames, expected, parity, tmp_path):
    answer, encoded = answer_elsewhere(SAVED_MODEL, run / "saved_model" / "1", frames, tmp_path)
    np.testing.assert_allclose(answer, expected, atol=1e-3)
    assert_as_measured(answer, expected, parity["artifacts"]["saved_model/1"])
    np.testing.assert_allclose(encoded, answer, atol=1e-5)


@pytest.mark.parametrize("name", TFLITE)
def test_a_tflite_file_answers_without_tensorflow(run, frames, expected, parity, tmp_path, name):
    answer = answer_elsewhere(LITERT, run / name, frames, tmp_path)
    assert answer.shape == (len(expected), len(CLASSES))
    assert_as_measured(answer, expected, parity["artifacts"][name])


def test_parity_is_measured_on_enough_pairs(run, frames, parity):
    assert parity["part"] == "validation and training"
    assert parity["pairs"] == len(frames["onset"])
    rows = parity["artifacts"]
    assert list(rows) == list(ARTIFACTS)
    for name in ("saved_model/1", "model_float32.tflite", "model_float16.tflite"):
        assert rows[name]["within_tolerance"]
        assert rows[name]["largest_difference"] <= TOLERANCES[name].largest_difference
    for name in TFLITE:
        assert rows[name]["bytes"] == (run / name).stat().st_size
        assert rows[name]["ms_per_pair"] > 0
    sizes = [rows[name]["bytes"] for name in TFLITE]
    for size, least in zip(sizes, (1, 1.9, 3.5, 3.5), strict=True):
        assert size <= sizes[0] / least


def test_labels_travel_with_every_artifact(run):
    for name in ARTIFACTS:
        assert load_artifact(run / name).classes == CLASSES
    assert read_labels(run / "model_int8.tflite") == CLASSES
    assert (run / "saved_model/1/assets.extra/labels.txt").read_text().split() == list(CLASSES)


def test_what_answers_differently_is_not_published(copied, model, capsys):
    """A model that prefers the last class is exported as artifacts that do not."""
    copy = copied
    bias = model.get_layer("network").get_layer("head").get_layer("probabilities").bias
    usual = bias.numpy()
    bias.assign(usual + np.asarray([0, 0, 0, 1], np.float32))
    flags = ["--run", "copy", "--runs", str(copy.parent), "--accept", "int8"]
    try:
        assert main("export", flags) == 1
    finally:
        bias.assign(usual)
    told = capsys.readouterr().err
    for name in ARTIFACTS[:3]:
        assert f"not published: {name}: " in told
    assert "note: left out: model_dynamic.tflite: mean difference" in told
    assert "at most 0.001" in told
    assert "error: 3 artifacts" in told
    for name in ARTIFACTS[:4]:
        assert not (copy / name).exists()  # what an earlier export left is stale
    assert (copy / "model_int8.tflite").exists()
    rows = json.loads((copy / "parity.json").read_text())["artifacts"]
    assert [row["published"] for row in rows.values()] == [False] * 4 + [True]
    assert not rows["model_int8.tflite"]["within_tolerance"]
    assert "its answers differ" in (copy / "model_card.md").read_text()
    assert not copy.with_name(".copy.export").exists()


def test_an_interrupted_export_continues_with_what_is_missing(run, model, tmp_path, monkeypatch):
    copy, made = tmp_path / "copy", []
    shutil.copytree(run, copy)

    def saved_model(model, folder, classes):
        made.append("saved_model/1")
        shutil.copytree(run / "saved_model/1", folder, dirs_exist_ok=True)

    def convert(model, training, formats):
        for form in formats:
            if form == "dynamic" and "float16" in made:
                raise KeyboardInterrupt
            made.append(form)
            yield form, (run / f"model_{form}.tflite").read_bytes()

    module = "casme_tf.export.export"
    monkeypatch.setattr(f"{module}.export_saved_model", saved_model)
    monkeypatch.setattr(f"{module}.convert_tflite", convert)
    monkeypatch.setattr(f"{module}.add_metadata", lambda content, *_, **__: content)
    monkeypatch.setattr(f"{module}._MIN_PAIRS", 10)
    monkeypatch.setattr(f"{module}.load_model", lambda path: model)
    options = {"runs": tmp_path, "accept": ("dynamic", "int8")}
    training = copy.with_name(".copy.work")  # of an interrupted train --overwrite
    training.mkdir()
    with pytest.raises(KeyboardInterrupt):
        export_run("copy", **options)
    made.clear()
    export_run("copy", **options)
    assert made == ["dynamic", "int8"]
    assert training.is_dir()
    assert not copy.with_name(".copy.export").exists()


def test_best_effort_formats_that_do_not_hold_are_left_out(copied, monkeypatch, capsys):
    copy, runs = copied, str(copied.parent)
    impossible = replace(EIGHT_BITS, mean_difference=-1.0)
    for form in ("dynamic", "int8"):
        monkeypatch.setitem(TOLERANCES, f"model_{form}.tflite", impossible)
    assert main("export", ["--run", "copy", "--runs", runs]) == 0
    assert capsys.readouterr().err.count("note: left out: model_") == 2
    assert [(copy / name).exists() for name in ARTIFACTS] == [True, True, True, False, False]
    # By name, a format must hold; what was not named is not there.
    assert main("export", ["--run", "copy", "--runs", runs, "--formats", "dynamic"]) == 1
    assert "not published: model_dynamic.tflite: " in capsys.readouterr().err
    rows = json.loads((copy / "parity.json").read_text())["artifacts"]
    assert list(rows) == ["saved_model/1", "model_dynamic.tflite"]
    assert not (copy / "model_int8.tflite").exists()


def test_near_ties_count_as_the_same_answer(run, frames):
    pair = {name: array[:4] for name, array in frames.items()}
    answer = load_artifact(run / ARTIFACTS[1])(pair)
    first, second = np.argsort(answer[0])[:-3:-1]
    expected = np.zeros_like(answer)
    expected[:, second], expected[:, first] = 0.52, 0.48
    expected[np.arange(4), answer.argmax(axis=1)] += 1e-6
    swapped = {i for i in range(4) if answer[i].argmax() != expected[i].argmax()}
    measure = partial(measure_parity, run / ARTIFACTS[1], pair, expected)
    assert measure().agreement == 1 - len(swapped) / 4
    assert 0 in swapped
    assert measure(margin=0.05).agreement == 1


@pytest.mark.parametrize(
    ("parity", "tolerance", "problems"),
    [
        (Parity(9e-4, 1e-4, 1.0, 1, 1.0), EXACT, 0),
        (Parity(1.1e-3, 1e-4, 1.0, 1, 1.0), EXACT, 1),
        (Parity(float("nan"), float("nan"), 1.0, 1, 1.0), EXACT, 1),
        (Parity(0.5, 0.03, 0.97, 1, 1.0), EIGHT_BITS, 0),
        (Parity(0.5, 0.031, 0.969, 1, 1.0), EIGHT_BITS, 2),
    ],
)
def test_tolerances_are_limits(parity, tolerance, problems):
    assert len(parity.beyond(tolerance)) == problems


def test_every_artifact_has_its_tolerance():
    limits = [TOLERANCES[name].largest_difference for name in ARTIFACTS]
    assert limits == [1e-3, 1e-3, 2e-2, None, None]
    int8 = TOLERANCES["model_int8.tflite"]
    assert (int8.agreement, int8.mean_difference) == (0.97, 0.03)


@pytest.mark.parametrize("artifact", ARTIFACTS)
def test_onset_and_apex_are_not_interchangeable(run, frames, artifact):
    answer = load_artifact(run / artifact)
    swapped = {"onset": frames["apex"], "apex": frames["onset"]}
    assert np.abs(answer(swapped) - answer(frames)).max() > 1e-3


@pytest.mark.parametrize("name", TFLITE)
def test_files_have_builtin_operators_alone(run, name):
    held = read_contents(run / name)
    assert held.inputs == {
        "apex": "uint8 (1, 64, 64, 3)",
        "onset": "uint8 (1, 64, 64, 3)",
    }
    assert held.outputs == {"probabilities": "float32 (1, 4)"}
    assert held.operators["CONV_2D"] >= 53  # those of ResNet50 and of the flow
    assert not [operator for operator in held.operators if operator.startswith("custom:")]


def test_operators_that_are_not_built_in_are_seen(run, tmp_path):
    content = (run / "model_float32.tflite").read_bytes()
    model = schema.ModelT.InitFromPackedBuf(content, 0)
    code = next(c for c in model.operatorCodes if c.builtinCode == schema.BuiltinOperator.SOFTMAX)
    code.builtinCode, code.customCode = schema.BuiltinOperator.CUSTOM, b"FlexSoftmax"
    path = tmp_path / "flex.tflite"
    flexed = pack(model, MODEL_IDENTIFIER)
    path.write_bytes(add_metadata(flexed, CLASSES, name="flex", description="a test"))
    assert read_contents(path).operators["custom:FlexSoftmax"] == 1


@pytest.mark.parametrize("name", TFLITE)
def test_motion_stays_float32_in_every_file(run, name):
    """Flow of a pixel does not survive eight bits; only the network is rounded."""
    model = schema.ModelT.InitFromPackedBuf((run / name).read_bytes(), 0)
    graph = model.subgraphs[0]
    codes = [model.operatorCodes[op.opcodeIndex].builtinCode for op in graph.operators]
    types = schema.TensorType
    convolutions = [i for i, code in enumerate(codes) if code == schema.BuiltinOperator.CONV_2D][
        -53:
    ]  # those of ResNet50
    before = {
        graph.tensors[i].type
        for op in graph.operators[: convolutions[0]]
        for i in [*op.inputs, *op.outputs]
        if i >= 0
    }
    # int8 begins with the image that the first convolution sees.
    assert types.FLOAT32 in before
    if name != "model_int8.tflite":
        assert types.INT8 not in before
    wanted = {"model_int8.tflite": types.INT8}.get(name, types.FLOAT32)
    outputs = {graph.tensors[graph.operators[i].outputs[0]].type for i in convolutions}
    assert outputs == {wanted}
    weights = {graph.tensors[graph.operators[i].inputs[1]].type for i in convolutions}
    stored = {"model_int8.tflite": types.INT8, "model_dynamic.tflite": types.INT8}
    assert weights == {stored.get(name, types.FLOAT32)}  # float16 is widened as it is read
    if name == "model_int8.tflite":
        quantize = codes.index(schema.BuiltinOperator.QUANTIZE)
        motion = {graph.tensors[i].type for op in graph.operators[:quantize] for i in op.outputs}
        assert types.INT8 not in motion


def test_a_run_that_is_not_there_is_named_with_its_command(tmp_path):
    with pytest.raises(UserError, match="Train it with: casme-tf train"):
        export_run("nothing", runs=tmp_path)


def test_files_of_other_models_are_refused(tmp_path, run):
    (tmp_path / "broken.tflite").write_bytes(b"not a model")
    keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)]).save(tmp_path / "other.keras")
    (tmp_path / "folder").mkdir()
    for name in ("broken.tflite", "other.keras", "folder", "missing.keras", "notes.txt"):
        with pytest.raises(UserError, match=name):
            load_artifact(tmp_path / name)


def test_without_training_clips_there_is_no_int8(run, data_dir, tmp_path):
    split = (run / "split.csv").read_text()
    copy = tmp_path / "copy"
    copy.mkdir()
    for name in ("config.json", "model.keras"):
        (copy / name).write_bytes((run / name).read_bytes())
    (copy / "split.csv").write_text(split.replace("train", "test"))
    with pytest.raises(UserError, match="none of them"):
        export_run("copy", runs=tmp_path, data_dir=data_dir)
    assert not (copy / "saved_model").exists()
