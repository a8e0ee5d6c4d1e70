"""The programs in saved_models/README.md, run from the page itself."""

import base64
import json
import re
import shutil
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis.predict_pb2 import PredictRequest, PredictResponse
from tensorflow_serving.apis.prediction_service_pb2_grpc import (
    PredictionServiceServicer,
    add_PredictionServiceServicer_to_server,
)

from casme_tf.clips.detector import Face, crop_box
from casme_tf.clips.frames import read_rgb, resize
from casme_tf.datasets.pairs import resize_frame
from casme_tf.export.artifacts import load_artifact
from casme_tf.labels import CLASSES
from casme_tf.tflite_file import read_labels

README = Path(__file__).parents[1] / "saved_models" / "README.md"
FRAMES = ("onset", "apex")
FORMS = ("float32", "float16", "dynamic", "int8")

# Around each program: it must do without these packages, and what it found is printed as JSON.
BEFORE = "import sys\nsys.modules.update(dict.fromkeys({missing!r}))\n"
AFTER = "\nimport json\nprint(json.dumps([str(label), [float(x) for x in probabilities]]))\n"


def snippets(language: str) -> dict[str, str]:
    """The code blocks of a language by the heading that they stand under."""
    found: dict[str, str] = {}
    heading = ""
    for match in re.finditer(
        r"^#+ (?P<heading>[^\n]*)$|^```(?P<language>\w+)\n(?P<code>.*?)^```$",
        README.read_text(),
        flags=re.MULTILINE | re.DOTALL,
    ):
        if match["heading"]:
            heading = match["heading"]
        elif match["language"] == language:
            found[heading] = found.get(heading, "") + match["code"]
    return found


@pytest.fixture(scope="module")
def place(run, prepared, tmp_path_factory) -> Path:
    """A folder as the page assumes it: the run `demo` and the crops of one pair."""
    folder = tmp_path_factory.mktemp("place")
    (folder / "saved_models").mkdir()
    (folder / "saved_models" / "demo").symlink_to(run)
    crops = sorted(prepared.glob("sub*/ROI_*"))[3]
    for name in FRAMES:
        shutil.copy(crops / f"{name}_frame.jpg", folder)
    return folder


@pytest.fixture(scope="module")
def published(run) -> list[Path]:
    """The run's TFLite files: those that answer as its model does."""
    files = sorted(run.glob("model_*.tflite"))
    assert run / "model_float32.tflite" in files
    return files


@pytest.fixture(scope="module")
def expected(place) -> np.ndarray:
    """What the SavedModel answers when this package reads and resizes the crops."""
    artifact = load_artifact(place / "saved_models" / "demo" / "saved_model" / "1")
    frames = {name: tf.constant(read_rgb(place / f"{name}_frame.jpg")) for name in FRAMES}
    size = artifact.frame_size
    pair = {name: np.asarray(resize_frame(x, size))[None] for name, x in frames.items()}
    return artifact(pair)[0]


def execute(code: str, place: Path, *missing: str) -> tuple[str, np.ndarray]:
    """Run a program in a process of its own; return its label and probabilities."""
    whole = BEFORE.format(missing=("casme_tf", "keras", *missing)) + code + AFTER
    command = [sys.executable, "-c", whole]
    done = subprocess.run(command, cwd=place, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    label, probabilities = json.loads(done.stdout.splitlines()[-1])
    return label, np.asarray(probabilities)


def require_answer(answer: tuple[str, np.ndarray], expected: np.ndarray) -> None:
    label, probabilities = answer
    assert label == CLASSES[expected.argmax()]
    np.testing.assert_allclose(probabilities, expected, atol=1e-4)


class Served:
    """A SavedModel, asked as TensorFlow Serving asks it."""

    def __init__(self, folder: Path) -> None:
        self._loaded = tf.saved_model.load(str(folder))

    def predict(self, signature: str, inputs: dict[str, Any]) -> dict[str, np.ndarray]:
        serve = self._loaded.signatures[signature]
        specs = serve.structured_input_signature[1]
        assert inputs.keys() == specs.keys()
        tensors = {name: tf.constant(x, specs[name].dtype) for name, x in inputs.items()}
        return {name: x.numpy() for name, x in serve(**tensors).items()}


class RestHandler(BaseHTTPRequestHandler):
    """`POST /v1/models/demo:predict` in row format, as TensorFlow Serving documents it."""

    served: Served

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path != "/v1/models/demo:predict":
            self._send(404, {"error": f"Servable not found for request: {self.path}"})
            return
        try:
            self._send(200, {"predictions": self._predict(body)})
        except (tf.errors.InvalidArgumentError, AssertionError) as error:
            self._send(400, {"error": str(error)})

    def _predict(self, body: dict[str, Any]) -> list[Any]:
        assert body.keys() <= {"signature_name", "instances"}
        rows = body["instances"]
        columns = {name: [_decode(row[name]) for row in rows] for name in rows[0]}
        outputs = self.served.predict(body.get("signature_name", "serving_default"), columns)
        answers = [
            {name: _encode(name, x[i]) for name, x in outputs.items()} for i in range(len(rows))
        ]
        # A single output goes without its name.
        return answers if len(outputs) > 1 else [x for row in answers for x in row.values()]

    def _send(self, status: int, content: dict[str, Any]) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


def _decode(value: Any) -> Any:
    if isinstance(value, dict):
        assert value.keys() == {"b64"}
        return base64.b64decode(value["b64"], validate=True)
    return value


def _encode(name: str, value: Any) -> Any:
    if isinstance(value, bytes):
        if name.endswith("_bytes"):
            return {"b64": base64.b64encode(value).decode()}
        return value.decode()
    return value.tolist()


class GrpcService(PredictionServiceServicer):
    """`PredictionService.Predict` for the model `demo`."""

    def __init__(self, served: Served) -> None:
        self._served = served

    def Predict(self, request: PredictRequest, context: grpc.ServicerContext) -> PredictResponse:
        if request.model_spec.name != "demo":
            context.abort(grpc.StatusCode.NOT_FOUND, "Servable not found for request")
        inputs = {name: tf.make_ndarray(proto) for name, proto in request.inputs.items()}
        response = PredictResponse()
        for name, x in self._served.predict(request.model_spec.signature_name, inputs).items():
            response.outputs[name].CopyFrom(tf.make_tensor_proto(x))
        return response


@pytest.fixture(scope="module")
def served(run) -> Served:
    return Served(run / "saved_model" / "1")


@pytest.fixture(scope="module")
def rest_port(served) -> Iterator[int]:
    handler = type("Handler", (RestHandler,), {"served": served})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def grpc_port(served) -> Iterator[int]:
    server = grpc.server(ThreadPoolExecutor(1))
    add_PredictionServiceServicer_to_server(GrpcService(served), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield port
    server.stop(None).wait()


def moved(code: str, port: int, documented: int) -> str:
    assert code.count(f"localhost:{documented}") == 1
    return code.replace(f"localhost:{documented}", f"127.0.0.1:{port}")


def post(port: int, body: bytes) -> Any:
    url = f"http://127.0.0.1:{port}/v1/models/demo:predict"
    with urllib.request.urlopen(urllib.request.Request(url, body), timeout=30) as response:
        return json.load(response)


def test_every_program_of_the_page_is_run_here():
    assert snippets("python").keys() == {
        "Cutting the frames",
        "REST",
        "gRPC",
        "Any TensorFlow program",
        "Python",
    }


def test_the_box_is_the_one_that_preparation_cuts():
    names: dict[str, Any] = {}
    exec(snippets("python")["Cutting the frames"], names)
    rng = np.random.default_rng(0)
    for _ in range(200):
        height, width = (int(x) for x in rng.integers(60, 2000, 2))
        x, y = rng.uniform(-0.2, 0.8, 2) * (width, height)
        side = rng.uniform(0.1, 0.9) * min(width, height)
        face = Face(x, y, side, side, 0.9, "short", 1, np.zeros((6, 2)))
        box = crop_box(face, (height, width))
        left, top, right, bottom = names["crop_box"](x, y, side, side, width, height)
        assert (left, top, right - left, bottom - top) == (box.x, box.y, box.width, box.height)


def test_the_rest_client_gets_the_models_answer(place, rest_port, expected):
    code = moved(snippets("python")["REST"], rest_port, 8501)
    require_answer(execute(code, place, "tensorflow", "numpy", "requests"), expected)


def test_the_shell_client_sends_what_the_server_takes(place, rest_port, expected):
    script = snippets("sh")["REST"]
    body_alone, curl = script.rsplit("|", 1)
    body = subprocess.run(["bash", "-c", body_alone], cwd=place, capture_output=True, check=True)
    (answer,) = post(rest_port, body.stdout)["predictions"]
    require_answer((answer["label"], answer["probabilities"]), expected)
    assert curl.split()[0] == "curl"
    if shutil.which("curl"):
        command = ["bash", "-c", moved(script, rest_port, 8501)]
        done = subprocess.run(command, cwd=place, capture_output=True, check=True)
        assert json.loads(done.stdout) == {"predictions": [answer]}


def test_the_page_shows_an_answer_as_it_comes(place, rest_port):
    shown = json.loads(snippets("json")["REST"])
    images = {
        name: {"b64": base64.b64encode((place / f"{name}_frame.jpg").read_bytes()).decode()}
        for name in FRAMES
    }
    body = {"signature_name": "serve_jpeg", "instances": [images, images]}
    answer = post(rest_port, json.dumps(body).encode())
    assert answer.keys() == shown.keys()
    assert len(answer["predictions"]) == 2
    for row in answer["predictions"]:
        assert {k: type(x) for k, x in row.items()} == {
            k: type(x) for k, x in shown["predictions"][0].items()
        }
        assert len(row["probabilities"]) == len(CLASSES)
    body["instances"][0]["onset"] = {"b64": "AAAA"}  # no image
    with pytest.raises(urllib.error.HTTPError) as refusal:
        post(rest_port, json.dumps(body).encode())
    assert refusal.value.code == 400
    assert json.load(refusal.value).keys() == {"error"}


def test_the_grpc_client_gets_the_models_answer(place, grpc_port, expected):
    code = moved(snippets("python")["gRPC"], grpc_port, 8500)
    require_answer(execute(code, place), expected)


def test_a_tensorflow_program_gets_the_models_answer(place, expected):
    require_answer(execute(snippets("python")["Any TensorFlow program"], place), expected)


def test_a_litert_program_gets_each_files_answer(place, published):
    frames = {name: read_rgb(place / f"{name}_frame.jpg") for name in FRAMES}
    program = snippets("python")["Python"]
    assert program.count("model_int8.tflite") == 1
    for path in published:
        artifact = load_artifact(path)
        pair = {name: resize(x, artifact.frame_size)[None] for name, x in frames.items()}
        code = program.replace("model_int8.tflite", path.name)
        require_answer(execute(code, place, "tensorflow", "mediapipe"), artifact(pair)[0])


def test_class_names_are_the_same_wherever_the_page_says_they_are(run, served, published):
    names = (run / "labels.txt").read_text().splitlines()
    assert tuple(names) == CLASSES
    assert [name.decode() for name in served.predict("class_names", {})["class_names"]] == names
    for path in published:
        assert list(read_labels(path)) == names


def test_the_server_is_started_on_what_export_wrote(run):
    command = snippets("sh")["TensorFlow Serving"]
    (source,) = re.findall(r'source="\$PWD/saved_models/demo/(\w+)"', command)
    assert [path.name for path in (run / source).iterdir()] == ["1"]
    assert (run / source / "1" / "saved_model.pb").is_file()
    for port in (8500, 8501):
        assert f"-p 127.0.0.1:{port}:{port}" in command


def test_the_table_names_every_file_of_a_run(run):
    table = README.read_text().split("\n## ")[0]
    named = set(re.findall(r"`([\w./]+?)/?`", table))
    there = {path.name for path in run.iterdir() if not path.name.startswith(".")}
    assert there - {name.split("/")[0] for name in named} == set()
    assert {f"model_{form}.tflite" for form in FORMS} <= named
