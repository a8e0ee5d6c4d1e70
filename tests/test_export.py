"""Every artifact answers what the Keras model answers, where neither this package nor TF is."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from casme_tf.artifacts import load_artifact
from casme_tf.config import ExportConfig
from casme_tf.errors import UserError
from casme_tf.export import export_run
from casme_tf.input_pipeline import load_pairs

ARTIFACTS = ("saved_model/1", "model_float32.tflite", "model_int8.tflite")

# Both print the probabilities of the frames in pair.npz.
SERVE = """
import json, sys
sys.modules["casme_tf"] = None
import numpy as np, tensorflow as tf
pair = np.load(sys.argv[2])
serve = tf.saved_model.load(sys.argv[1]).signatures["serving_default"]
answer = serve(onset=tf.constant(pair["onset"]), apex=tf.constant(pair["apex"]))
print(json.dumps(answer["probabilities"].numpy().tolist()))
"""
LITERT = """
import json, sys
sys.modules["tensorflow"] = None
import numpy as np
from ai_edge_litert.interpreter import Interpreter
pair = np.load(sys.argv[2])
run = Interpreter(sys.argv[1]).get_signature_runner("serving_default")
answers = [
    run(onset=pair["onset"][i : i + 1], apex=pair["apex"][i : i + 1])["probabilities"][0].tolist()
    for i in range(len(pair["onset"]))
]
print(json.dumps(answers))
"""


@pytest.fixture(scope="module")
def frames(data_dir) -> dict[str, np.ndarray]:
    return {name: array[:12] for name, array in load_pairs(data_dir, 64).frames.items()}


@pytest.fixture(scope="module")
def expected(run, frames) -> np.ndarray:
    return load_artifact(run / "model.keras")(frames)


def elsewhere(code: str, path: Path, frames, tmp_path: Path) -> np.ndarray:
    """Run code in a process of its own and folder of its own."""
    np.savez(tmp_path / "pair.npz", **frames)
    command = [sys.executable, "-c", code, str(path), "pair.npz"]
    done = subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, text=True)
    return np.asarray(json.loads(done.stdout.splitlines()[-1]))


def test_the_saved_model_answers_without_this_package(run, frames, expected, tmp_path):
    answer = elsewhere(SERVE, run / "saved_model" / "1", frames, tmp_path)
    np.testing.assert_allclose(answer, expected, atol=1e-3)


def test_the_float32_file_answers_without_tensorflow(run, frames, expected, tmp_path):
    answer = elsewhere(LITERT, run / "model_float32.tflite", frames, tmp_path)
    difference = np.abs(answer - expected)
    # An ulp of flow can move a pixel's hue to the next step, which a network this raw magnifies.
    assert difference.mean() < 5e-3
    assert difference.max() < 0.05


def test_the_int8_file_answers_alike_and_is_a_quarter_of_the_size(run, frames, expected, tmp_path):
    path = run / "model_int8.tflite"
    answer = elsewhere(LITERT, path, frames, tmp_path)
    assert np.abs(answer - expected).mean() < 0.1
    assert path.stat().st_size < (run / "model_float32.tflite").stat().st_size / 3.5


@pytest.mark.parametrize("artifact", ARTIFACTS)
def test_onset_and_apex_are_not_interchangeable(run, frames, artifact):
    answer = load_artifact(run / artifact)
    swapped = {"onset": frames["apex"], "apex": frames["onset"]}
    assert np.abs(answer(swapped) - answer(frames)).max() > 1e-3


@pytest.mark.parametrize("name", ["model_float32.tflite", "model_int8.tflite"])
def test_files_have_builtin_operators_alone(run, name):
    model = schema.ModelT.InitFromPackedBuf((run / name).read_bytes(), 0)
    codes = {code.builtinCode for code in model.operatorCodes}
    assert schema.BuiltinOperator.CUSTOM not in codes
    assert not any(code.customCode for code in model.operatorCodes)
    signature = model.signatureDefs[0]
    assert {item.name.decode() for item in signature.inputs} == {"onset", "apex"}
    assert [item.name.decode() for item in signature.outputs] == ["probabilities"]
    tensors = model.subgraphs[0].tensors
    inputs = {tensors[item.tensorIndex].type for item in signature.inputs}
    assert inputs == {schema.TensorType.UINT8}


def test_the_motion_of_the_int8_file_stays_float32(run):
    """Flow of a pixel does not survive eight bits; only the network is quantized."""
    model = schema.ModelT.InitFromPackedBuf((run / "model_int8.tflite").read_bytes(), 0)
    graph = model.subgraphs[0]
    codes = [model.operatorCodes[op.opcodeIndex].builtinCode for op in graph.operators]
    quantize = codes.index(schema.BuiltinOperator.QUANTIZE)
    before = {graph.tensors[i].type for op in graph.operators[:quantize] for i in op.outputs}
    assert schema.TensorType.INT8 not in before
    convolutions = [
        graph.tensors[op.outputs[0]].type
        for op, code in zip(graph.operators, codes, strict=True)
        if code == schema.BuiltinOperator.CONV_2D and op in graph.operators[quantize:]
    ]
    assert len(convolutions) == 53  # those of ResNet50
    assert set(convolutions) == {schema.TensorType.INT8}


def test_a_run_that_is_not_there_is_named_with_its_command(tmp_path):
    with pytest.raises(UserError, match="Train it with: casme-tf train"):
        export_run(ExportConfig(run="nothing", runs=tmp_path))


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
    config = ExportConfig(run="copy", runs=tmp_path)
    with pytest.raises(UserError, match="none of them"):
        export_run(replace(config, data_dir=data_dir))
    assert not (copy / "saved_model").exists()
