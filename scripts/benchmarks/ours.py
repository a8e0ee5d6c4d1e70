"""Our side of `scripts/benchmarks/benchmark.py`, and what else needs our environment."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import cv2
import keras
import numpy as np
import tensorflow as tf
from flow import converted_flow, litert_runner
from folds import Arguments as FoldArguments
from folds import Clips, fresh, ours
from worker import Answer

from casme_tf.clips.blazeface import find_model
from casme_tf.clips.detector import FaceDetector, crop_box
from casme_tf.clips.frames import read_rgb
from casme_tf.datasets.coding_sheet import read_coding_sheet
from casme_tf.datasets.databases import CASME2
from casme_tf.datasets.pairs import load_pairs
from casme_tf.datasets.prepare import prepare_dataset
from casme_tf.datasets.raw_clips import find_pair
from casme_tf.errors import UserError
from casme_tf.export.artifacts import LiteRTArtifact
from casme_tf.layers import FarnebackFlow, RGBToGray
from casme_tf.models import flow_classifier, siamese_classifier, split_model
from casme_tf.training.keras_learner import choose_precision, dtype_policy

SIZE, THREADS = 224, 2


class Side:
    """Tasks of the benchmark, by name.

    Args:
        folder: The benchmark's folder, from `drawn_data.py`.
    """

    def __init__(self, folder: Path) -> None:
        cv2.setNumThreads(THREADS)
        self._folder = folder
        with np.load(folder / "pairs.npz") as saved:
            self._frames = {name: saved[name] for name in ("onset", "apex")}
            self._labels = saved["labels"]
        self._kept: dict[str, Any] = {}

    def _pairs(self, count: int) -> dict[str, np.ndarray]:
        return {name: frames[:count] for name, frames in self._frames.items()}

    def _gray(self, count: int) -> dict[str, np.ndarray]:
        return {name: RGBToGray()(frames).numpy() for name, frames in self._pairs(count).items()}

    def pair(self, arch: str, form: str) -> Answer:
        """One pair at a time, frames to probabilities in one file."""
        name = f"{arch}_{form}.tflite"
        artifact = self._kept.setdefault(name, LiteRTArtifact(self._folder / name, THREADS))
        pairs = self._pairs(40)
        start = time.perf_counter()
        answer = artifact(pairs)
        return Answer((time.perf_counter() - start) / 40, answer=answer)

    def batch(self, arch: str) -> Answer:
        """A batch of 64 pairs by the SavedModel."""
        if arch not in self._kept:
            self._kept[arch] = tf.saved_model.load(str(self._folder / arch / "1"))
        serve_pairs = self._kept[arch].signatures["serving_default"]
        pairs = {name: tf.constant(frames) for name, frames in self._pairs(64).items()}
        start = time.perf_counter()
        answer = serve_pairs(**pairs)["probabilities"].numpy()
        return Answer((time.perf_counter() - start) / 64, answer=answer)

    def size(self, arch: str, form: str) -> Answer:
        """Bytes of the artifact."""
        return Answer(0.0, value=float((self._folder / f"{arch}_{form}.tflite").stat().st_size))

    def flow(self) -> Answer:
        """Flow alone, by LiteRT."""
        return self._flow(iterations=5)

    def _flow(self, iterations: int) -> Answer:
        gray = self._gray(40)
        key = f"flow alone, {iterations}"
        if key not in self._kept:
            self._kept[key] = converted_flow(SIZE, FarnebackFlow(iterations=iterations))
        one = {name: frames[:1] for name, frames in gray.items()}
        interpreter, run = litert_runner(self._kept[key], THREADS, one)
        inputs = {each["name"]: each["index"] for each in interpreter.get_input_details()}
        (output,) = interpreter.get_output_details()
        flows = []
        start = time.perf_counter()
        for i in range(40):
            for name, index in inputs.items():
                interpreter.set_tensor(index, gray[name][i : i + 1])
            run()
            flows.append(interpreter.get_tensor(output["index"])[0])
        return Answer((time.perf_counter() - start) / 40, answer=np.stack(flows))

    def train(self, arch: str, batch: str) -> Answer:
        """Steps of training on `batch` clips."""
        return self._train(arch, int(batch), steps=3)

    def _train(self, arch: str, batch: int, steps: int) -> Answer:
        key = f"train {arch}"
        if key not in self._kept:
            tf.config.experimental.enable_op_determinism()
            keras.utils.set_random_seed(0)
            with dtype_policy(choose_precision(SIZE)):
                build = {"flow": flow_classifier, "siamese": siamese_classifier}[arch]
                model = build(frame_size=SIZE, network_size=SIZE)
            network = split_model(model)[2]
            fitted = keras.Model(network.input, network.output)
            optimizer = keras.optimizers.Adam(1e-4)
            optimizer.build(fitted.trainable_variables)
            fitted.compile(optimizer, "sparse_categorical_crossentropy")
            shape = (batch, SIZE, SIZE, 3)
            frames = {k: np.float32(x[:batch]) for k, x in self._frames.items()}
            images = frames if arch == "siamese" else frames["apex"]
            assert all(x.shape == shape for x in frames.values())
            self._kept[key] = fitted, images
        fitted, images = self._kept[key]
        seconds = []
        for _ in range(steps + 1):
            start = time.perf_counter()
            fitted.train_on_batch(images, self._labels[:batch])
            seconds.append(time.perf_counter() - start)
        return Answer(float(np.median(seconds[1:])))

    def _clips(self) -> Clips:
        with np.load(self._folder / "motion.npz") as saved:
            return Clips(*(saved[name] for name in ("motion", "labels", "subjects")))

    def loso(self) -> Answer:
        """All folds of STSTNet, one traced step for all."""
        clips = self._clips()
        start = time.perf_counter()
        answers = ours(clips, FoldArguments())
        seconds = time.perf_counter() - start
        return Answer(seconds, value=float((answers == clips.labels).mean()))

    def loso_fresh(self) -> Answer:
        """The same with a fresh Keras model fitted for each fold."""
        clips = self._clips()
        start = time.perf_counter()
        answers = fresh(clips, FoldArguments())
        seconds = time.perf_counter() - start
        return Answer(seconds, value=float((answers == clips.labels).mean()))

    def read(self) -> Answer:
        """Read the built data set into memory; all but the first time its frames are resized."""
        start = time.perf_counter()
        pairs = load_pairs(self._folder / "tfds", SIZE)
        frames = {name: np.array(array) for name, array in pairs.frames.items()}
        seconds = time.perf_counter() - start
        return Answer(seconds / len(pairs), value=float(frames["onset"].mean()))

    def _corpus(self) -> tuple[Path, Path]:
        corpus = self._folder / "corpus"
        return corpus / "CASME2-RAW", corpus / "CASME2-coding-stand-in.xlsx"

    def prepare(self) -> Answer:
        """Detect, crop and write all clips that have an apex in the sheet."""
        out = self._folder / "prepared-again"
        shutil.rmtree(out, ignore_errors=True)
        start = time.perf_counter()
        # The other side cannot say where the apex is that the sheet leaves out.
        done = prepare_dataset(*self._corpus(), out, spot=None)
        seconds = time.perf_counter() - start
        shutil.rmtree(out)
        return Answer(seconds, value=float(done.prepared))

    def prepare_each_frame(self) -> Answer:
        """The same in the original system's way: one detector built for each image."""
        raw, sheet = self._corpus()
        out = self._folder / "prepared-each"
        out.mkdir(exist_ok=True)
        model = find_model("short")
        prepared = 0
        start = time.perf_counter()
        for clip in read_coding_sheet(sheet).clips:
            try:
                pair = find_pair(raw, clip, CASME2)
            except UserError:  # no apex in the sheet
                continue
            for name, path in (("onset", pair.onset), ("apex", pair.apex)):
                frame = read_rgb(path)
                with FaceDetector(model) as detector:
                    box = crop_box(detector.detect(frame), frame.shape[:2])
                file = out / f"{clip.subject}_{clip.clip}_{name}.jpg"
                cv2.imwrite(str(file), box.crop(frame)[..., ::-1])
            prepared += 1
        seconds = time.perf_counter() - start
        shutil.rmtree(out)
        return Answer(seconds, value=float(prepared))
