"""The other side of `scripts/benchmarks/benchmark.py`: the original system's way, in PyTorch.

Run by the benchmark in an environment that has PyTorch, OpenCV and NumPy alone. It answers one
task a line, see `worker.py`. Tasks named `…_parts` say what others spend their time on.
"""

from __future__ import annotations

import csv
import io
import time
from pathlib import Path

import cv2
import numpy as np
import torch
from networks import Classifier, STSTNet, load_weights
from torch import Tensor
from torch.nn.functional import cross_entropy
from worker import Answer, in_parts, serve, time_call

THREADS = 2
FARNEBACK = (0.5, 3, 19, 5, 7, 1.2, 0)


def draw_flow(onset: np.ndarray, apex: np.ndarray) -> np.ndarray:
    """Compute and color the flow of a pair as the original system does, `(S, S, 3)` RGB."""
    gray = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in (onset, apex)]
    flow = cv2.calcOpticalFlowFarneback(gray[0], gray[1], None, *FARNEBACK)
    magnitude, angle = cv2.cartToPolar(flow[..., 0], flow[..., 1])
    hsv = np.full((*gray[0].shape, 3), 255, np.uint8)
    hsv[..., 0] = angle * 180 / np.pi / 2
    hsv[..., 2] = cv2.normalize(magnitude, None, 0, 255, cv2.NORM_MINMAX)
    return cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)


class Side:
    """Tasks of the benchmark, by name.

    Args:
        folder: The benchmark's folder, with what the other side has written.
    """

    def __init__(self, folder: Path) -> None:
        torch.set_num_threads(THREADS)
        cv2.setNumThreads(THREADS)
        self._folder = folder
        with np.load(folder / "pairs.npz") as saved:
            self._onset, self._apex, self._labels = (
                saved[name] for name in ("onset", "apex", "labels")
            )
        self._models: dict[str, Classifier] = {}

    def _model(self, arch: str) -> Classifier:
        if arch not in self._models:
            self._models[arch] = Classifier(0.5 if arch == "flow" else 0.25)
            load_weights(self._models[arch], self._folder / f"{arch}.npz")
        return self._models[arch]

    def _images(self, arch: str, clips: slice) -> list[Tensor]:
        onset, apex = self._onset[clips], self._apex[clips]
        if arch == "flow":
            drawn = [draw_flow(*pair) for pair in zip(onset, apex, strict=True)]
            return [torch.from_numpy(np.stack(drawn)).float()]
        return [torch.from_numpy(frames).float() for frames in (onset, apex)]

    def _answer(self, arch: str, pairs: int, batch: int) -> Answer:
        model = self._model(arch).eval()
        answers = []
        with torch.inference_mode():
            start = time.perf_counter()
            for i in range(0, pairs, batch):
                logits = model(*self._images(arch, slice(i, min(i + batch, pairs))))
                answers.append(logits.softmax(-1))
            seconds = time.perf_counter() - start
        return Answer(seconds / pairs, answer=torch.cat(answers).numpy())

    def pair(self, arch: str) -> Answer:
        """One pair at a time, flow by OpenCV before the network."""
        return self._answer(arch, 40, 1)

    def batch(self, arch: str) -> Answer:
        """A batch of 64 pairs."""
        return self._answer(arch, 64, 64)

    def pair_parts(self, arch: str) -> Answer:
        """Flow of a pair, and all else."""
        return self._answer_parts(arch, self.pair(arch).seconds)

    def batch_parts(self, arch: str) -> Answer:
        """The same of 64 pairs."""
        return self._answer_parts(arch, self.batch(arch).seconds)

    def _answer_parts(self, arch: str, whole: float) -> Answer:
        flow = {"flow": self.flow().seconds} if arch == "flow" else {}
        return in_parts(flow | {"all else": whole - sum(flow.values())})

    def size(self, arch: str) -> Answer:
        """Bytes of the checkpoint."""
        file = io.BytesIO()
        torch.save(self._model(arch).state_dict(), file)
        return Answer(0.0, value=float(file.getbuffer().nbytes))

    def flow(self) -> Answer:
        """Flow alone, by OpenCV."""
        return self._flow(iterations=5)

    def _flow(self, iterations: int) -> Answer:
        gray = [
            [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in frames[:40]]
            for frames in (self._onset, self._apex)
        ]
        settings = (*FARNEBACK[:3], iterations, *FARNEBACK[4:])
        start = time.perf_counter()
        flows = [
            cv2.calcOpticalFlowFarneback(onset, apex, None, *settings)
            for onset, apex in zip(*gray, strict=True)
        ]
        seconds = time.perf_counter() - start
        return Answer(seconds / len(flows), answer=np.stack(flows))

    def flow_parts(self) -> Answer:
        """A step of refinement at all levels, and all that comes before the first."""
        five, one = self._flow(iterations=5).seconds, self._flow(iterations=1).seconds
        step = (five - one) / 4
        return in_parts({"each of 5 refinements": step, "all else": one - step})

    def train(self, arch: str, batch: str) -> Answer:
        """Steps of training on `batch` clips."""
        return self._train(arch, int(batch), steps=3)

    train_parts = train

    def _train(self, arch: str, batch: int, steps: int) -> Answer:
        model = Classifier(0.5 if arch == "flow" else 0.25).train()
        optimizer = torch.optim.Adam(model.parameters(), lr=1e-4)
        images = self._images(arch, slice(0, batch))
        labels = torch.from_numpy(self._labels[:batch])
        seconds = []
        for _ in range(steps + 1):
            moments = [time.perf_counter()]
            optimizer.zero_grad()
            loss = cross_entropy(model(*images), labels)
            moments.append(time.perf_counter())
            loss.backward()
            moments.append(time.perf_counter())
            optimizer.step()
            seconds.append(np.diff([*moments, time.perf_counter()]))
        parts = np.median(seconds[1:], axis=0)
        names = "forward", "gradients", "Adam"
        medians = dict(zip(names, parts.tolist(), strict=True))
        return Answer(float(np.median(np.sum(seconds[1:], axis=1))), parts=medians)

    def loso(self) -> Answer:
        """All folds of STSTNet, one after the other."""
        with np.load(self._folder / "motion.npz") as saved:
            motion, labels, subjects = (saved[n] for n in ("motion", "labels", "subjects"))
        start = time.perf_counter()
        answers = np.empty_like(labels)
        for subject in np.unique(subjects):
            test = subjects == subject
            answers[test] = fit_ststnet(motion[~test], labels[~test], motion[test])
        seconds = time.perf_counter() - start
        return Answer(seconds, value=float((answers == labels).mean()))

    def read(self) -> Answer:
        """Decode the prepared JPEGs with OpenCV in a DataLoader."""
        files = read_manifest(self._folder / "prepared")
        loader = torch.utils.data.DataLoader(JpegPairs(files), batch_size=32, num_workers=THREADS)
        start = time.perf_counter()
        frames = torch.cat([onset for onset, _ in loader])
        seconds = time.perf_counter() - start
        return Answer(seconds / len(files), value=float(frames.float().mean()))

    def read_parts(self) -> Answer:
        """Decoding and resizing of a frame, on one thread; and resizing by areas, unlike `read`."""
        files = [file for pair in read_manifest(self._folder / "prepared") for file in pair][:100]
        cv2.setNumThreads(0)
        size = (224, 224)
        frames = [cv2.imread(file) for file in files]
        seconds = {
            "decoding": time_call(lambda: [cv2.imread(file) for file in files]),
            "resizing": time_call(lambda: [cv2.resize(frame, size) for frame in frames]),
            "were it by areas": time_call(
                lambda: [cv2.resize(frame, size, interpolation=cv2.INTER_AREA) for frame in frames]
            ),
        }
        cv2.setNumThreads(THREADS)
        return in_parts({name: each / len(files) for name, each in seconds.items()})


def fit_ststnet(
    motion: np.ndarray, labels: np.ndarray, tested: np.ndarray, epochs: int = 40, batch: int = 32
) -> np.ndarray:
    """Fit on one fold's training clips and their mirrored copies; answer for the others."""
    torch.manual_seed(0)
    model = STSTNet([0.224, 0.224, 0.01])
    mirrored = motion[:, :, ::-1] * np.array([-1, 1, 1], np.float32)
    x = torch.from_numpy(np.concatenate([motion, mirrored])).permute(0, 3, 1, 2).contiguous()
    y = torch.from_numpy(np.tile(labels, 2))
    counts = torch.bincount(y, minlength=4)
    weights = len(y) / (counts > 0).sum() / counts.clamp(min=1)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    for _ in range(epochs):
        for rows in torch.randperm(len(y)).split(batch):
            optimizer.zero_grad()
            loss = cross_entropy(model(x[rows]), y[rows], reduction="none")
            (loss * weights[y[rows]]).mean().backward()
            optimizer.step()
    with torch.inference_mode():
        return model.eval()(torch.from_numpy(tested).permute(0, 3, 1, 2)).argmax(1).numpy()


class JpegPairs(torch.utils.data.Dataset):
    """Prepared pairs, decoded by OpenCV at each access."""

    def __init__(self, files: list[tuple[str, str]]) -> None:
        cv2.setNumThreads(0)
        self._files = files

    def __len__(self) -> int:
        """Return the number of pairs."""
        return len(self._files)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        """Return onset and apex, `(224, 224, 3)` uint8 RGB."""
        frames = [cv2.cvtColor(cv2.imread(f), cv2.COLOR_BGR2RGB) for f in self._files[index]]
        onset, apex = (torch.from_numpy(cv2.resize(frame, (224, 224))) for frame in frames)
        return onset, apex


def read_manifest(prepared: Path) -> list[tuple[str, str]]:
    """Return the files of onset and apex frame of each prepared clip."""
    with (prepared / "manifest.csv").open(newline="") as file:
        folders = [prepared / r["subject"] / f"ROI_{r['clip']}" for r in csv.DictReader(file)]
    return [(str(f / "onset_frame.jpg"), str(f / "apex_frame.jpg")) for f in folders]


if __name__ == "__main__":
    serve(Side)
