"""The other side of `scripts/benchmark.py`: the original system's way, in PyTorch.

Run by the benchmark in an environment that has PyTorch, OpenCV and NumPy alone. It answers one
task a line; see `benchmark_worker.py`. The network is Keras's ResNet50, layer by layer, so that
both sides have the same weights.
"""

from __future__ import annotations

import csv
import io
import time
from pathlib import Path

import cv2
import numpy as np
import torch
from benchmark_worker import Answer, serve
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, max_pool2d, relu

THREADS = 2
FARNEBACK = (0.5, 3, 19, 5, 7, 1.2, 0)
BLOCKS = (3, 4, 6, 3)
MEAN_BGR = (103.939, 116.779, 123.68)


class ConvNorm(nn.Module):
    """Convolution, bias included as in Keras, and batch normalisation."""

    def __init__(self, inputs: int, outputs: int, side: int, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, side, stride, padding=side // 2)
        self.norm = nn.BatchNorm2d(outputs, eps=1.001e-5, momentum=0.1)

    def forward(self, x: Tensor) -> Tensor:
        """Return the normalised convolution."""
        return self.norm(self.conv(x))


class Block(nn.Module):
    """A residual block, which strides in its first convolution."""

    def __init__(self, inputs: int, filters: int, stride: int, project: bool) -> None:
        super().__init__()
        self.shortcut = ConvNorm(inputs, 4 * filters, 1, stride) if project else nn.Identity()
        self.first = ConvNorm(inputs, filters, 1, stride)
        self.second = ConvNorm(filters, filters, 3)
        self.third = ConvNorm(filters, 4 * filters, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return the block's output."""
        y = relu(self.first(x))
        return relu(self.shortcut(x) + self.third(relu(self.second(y))))


class ResNet50(nn.Module):
    """ResNet50 without its last layer, from images `(B, 3, S, S)` BGR to `(B, 2048)`."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = ConvNorm(3, 64, 7, 2)
        blocks, inputs = [], 64
        for stage, count in enumerate(BLOCKS):
            filters = 64 * 2**stage
            for number in range(count):
                stride = 2 if stage and not number else 1
                blocks.append(Block(inputs, filters, stride, project=not number))
                inputs = 4 * filters
        self.blocks = nn.Sequential(*blocks)

    def forward(self, x: Tensor) -> Tensor:
        """Return the features."""
        x = max_pool2d(relu(self.stem(x)), 3, 2, 1)
        return self.blocks(x).mean((2, 3))


class Classifier(nn.Module):
    """Either architecture: the embedding of one image, or the difference of two."""

    def __init__(self, dropout: float) -> None:
        super().__init__()
        self.backbone = ResNet50()
        self.embedding_256, self.embedding_128 = nn.Linear(2048, 256), nn.Linear(256, 128)
        self.hidden_64, self.probabilities = nn.Linear(128, 64), nn.Linear(64, 4)
        self.dropout = nn.Dropout(dropout)
        self.register_buffer("mean", torch.tensor(MEAN_BGR)[:, None, None])

    def embed(self, rgb: Tensor) -> Tensor:
        """Embed images `(B, S, S, 3)` RGB, 0…255, as `(B, 128)`."""
        x = self.backbone(rgb.flip(-1).permute(0, 3, 1, 2) - self.mean)
        x = self.dropout(relu(self.embedding_256(x)))
        return self.dropout(relu(self.embedding_128(x)))

    def classify(self, embedding: Tensor) -> Tensor:
        """Return logits `(B, 4)`."""
        return self.probabilities(relu(self.hidden_64(embedding)))

    def forward(self, *images: Tensor) -> Tensor:
        """Return logits of one image, or of the difference onset minus apex."""
        embedded = [self.embed(image) for image in images]
        return self.classify(embedded[0] if len(embedded) == 1 else embedded[0] - embedded[1])


def load_weights(model: Classifier, path: Path) -> None:
    """Take over the weights that the other side wrote, by the names of Keras's layers."""
    with np.load(path) as saved:
        arrays = dict(saved)

    def conv_norm(part: ConvNorm, name: str) -> None:
        kernel, bias = (torch.tensor(arrays[f"{name}_conv/{x}"]) for x in ("kernel", "bias"))
        part.conv.weight.data, part.conv.bias.data = kernel.permute(3, 2, 0, 1).contiguous(), bias
        names = {"weight": "gamma", "bias": "beta"}
        names |= {"running_mean": "moving_mean", "running_var": "moving_variance"}
        for ours, theirs in names.items():
            getattr(part.norm, ours).data = torch.tensor(arrays[f"{name}_bn/{theirs}"])

    conv_norm(model.backbone.stem, "conv1")
    blocks = iter(model.backbone.blocks)
    for stage, count in enumerate(BLOCKS, start=2):
        for number in range(1, count + 1):
            block, name = next(blocks), f"conv{stage}_block{number}"
            if number == 1:
                conv_norm(block.shortcut, f"{name}_0")
            for i, part in enumerate((block.first, block.second, block.third), start=1):
                conv_norm(part, f"{name}_{i}")
    for name in ("embedding_256", "embedding_128", "hidden_64", "probabilities"):
        layer = getattr(model, name)
        layer.weight.data = torch.tensor(arrays[f"{name}/kernel"]).T.contiguous()
        layer.bias.data = torch.tensor(arrays[f"{name}/bias"])


def draw_flow(onset: np.ndarray, apex: np.ndarray) -> np.ndarray:
    """Compute and colour the flow of a pair as the original system does, `(S, S, 3)` RGB."""
    gray = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in (onset, apex)]
    flow = cv2.calcOpticalFlowFarneback(gray[0], gray[1], None, *FARNEBACK)
    magnitude, angle = cv2.cartToPolar(flow[..., 0], flow[..., 1])
    hsv = np.full((*gray[0].shape, 3), 255, np.uint8)
    hsv[..., 0] = angle * 180 / np.pi / 2
    hsv[..., 2] = cv2.normalize(magnitude, None, 0, 255, cv2.NORM_MINMAX)
    return cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)


class Side:
    """What the benchmark asks for, by name.

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
        """One pair at a time, flow by OpenCV beside the network."""
        return self._answer(arch, 40, 1)

    def batch(self, arch: str) -> Answer:
        """A batch of 64 pairs."""
        return self._answer(arch, 64, 64)

    def size(self, arch: str) -> Answer:
        """Bytes of the checkpoint."""
        file = io.BytesIO()
        torch.save(self._model(arch).state_dict(), file)
        return Answer(0.0, value=float(file.getbuffer().nbytes))

    def flow(self) -> Answer:
        """Flow alone, by OpenCV."""
        gray = [
            [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in frames[:40]]
            for frames in (self._onset, self._apex)
        ]
        start = time.perf_counter()
        flows = [
            cv2.calcOpticalFlowFarneback(onset, apex, None, *FARNEBACK)
            for onset, apex in zip(*gray, strict=True)
        ]
        seconds = time.perf_counter() - start
        return Answer(seconds / len(flows), answer=np.stack(flows))

    def train(self, arch: str, batch: str) -> Answer:
        """Steps of training on `batch` clips."""
        return self._train(arch, int(batch), steps=3)

    def _train(self, arch: str, batch: int, steps: int) -> Answer:
        model = Classifier(0.5 if arch == "flow" else 0.25).train()
        optimizer = torch.optim.Adam(model.parameters(), lr=1e-4)
        images = self._images(arch, slice(0, batch))
        labels = torch.from_numpy(self._labels[:batch])
        seconds = []
        for _ in range(steps + 1):
            start = time.perf_counter()
            optimizer.zero_grad()
            cross_entropy(model(*images), labels).backward()
            optimizer.step()
            seconds.append(time.perf_counter() - start)
        return Answer(float(np.median(seconds[1:])))

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


class STSTNet(nn.Module):
    """Three shallow streams over dx, dy and strain, as their authors wrote them."""

    def __init__(self, scale: list[float]) -> None:
        super().__init__()
        self.register_buffer("scale", torch.tensor(scale)[:, None, None])
        self.streams = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(3, filters, 3, padding=1),
                nn.ReLU(),
                nn.MaxPool2d(3, 3, padding=1),
                nn.Dropout(0.5),
            )
            for filters in (3, 5, 8)
        )
        self.average = nn.AvgPool2d(2)
        self.last = nn.Linear(400, 4)

    def forward(self, motion: Tensor) -> Tensor:
        """Return logits of motion `(B, 3, 28, 28)`."""
        x = motion / self.scale
        x = torch.cat([stream(x) for stream in self.streams], 1)
        return self.last(self.average(x).flatten(1))


def fit_ststnet(
    motion: np.ndarray, labels: np.ndarray, asked: np.ndarray, epochs: int = 40, batch: int = 32
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
        return model.eval()(torch.from_numpy(asked).permute(0, 3, 1, 2)).argmax(1).numpy()


class JpegPairs(torch.utils.data.Dataset):
    """Prepared pairs, decoded by OpenCV when they are asked for."""

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
