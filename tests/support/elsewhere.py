"""Artifacts answering in processes of their own, where this package or TensorFlow is not."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np

# Each prints the probabilities of what is in pair.npz; a SavedModel, of frames and of images.
SAVED_MODEL = """
import io, json, sys
sys.modules["casme_tf"] = None
import numpy as np, tensorflow as tf
from PIL import Image
def encode(frame):
    file = io.BytesIO()
    Image.fromarray(frame).save(file, "PNG")
    return file.getvalue()
pair = np.load(sys.argv[2])
signatures = tf.saved_model.load(sys.argv[1]).signatures
frames = {name: tf.constant(pair[name]) for name in ("onset", "apex")}
of_frames = signatures["serving_default"](**frames)["probabilities"].numpy()
encoded = {name: tf.constant([encode(x) for x in pair[name]]) for name in ("onset", "apex")}
answer = signatures["serve_jpeg"](**encoded)
of_images = answer["probabilities"].numpy()
names = signatures["class_names"]()["class_names"].numpy()
assert (answer["label"].numpy() == names[of_images.argmax(axis=1)]).all()
print(json.dumps([of_frames.tolist(), of_images.tolist()]))
"""
KERAS = """
import json, sys
import numpy as np
from pathlib import Path
from casme_tf.export.artifacts import load_artifact
assert "casme_tf.models" not in sys.modules
pair = np.load(sys.argv[2])
answer = load_artifact(Path(sys.argv[1]))({name: pair[name] for name in ("onset", "apex")})
print(json.dumps(answer.tolist()))
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


def answer_elsewhere(
    code: str, artifact: Path, frames: dict[str, np.ndarray], folder: Path
) -> np.ndarray:
    """Return the probabilities that a program prints, run in `folder`."""
    np.savez(folder / "pair.npz", **frames)
    command = [sys.executable, "-c", code, str(artifact), "pair.npz"]
    done = subprocess.run(command, cwd=folder, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    return np.asarray(json.loads(done.stdout.splitlines()[-1]))
