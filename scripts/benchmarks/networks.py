"""The networks of `scripts/benchmarks/benchmark.py` in PyTorch, with Keras's weights.

ResNet50 is Keras's, layer by layer, so that both sides have the same weights; STSTNet is as its
authors wrote it.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import max_pool2d, relu

BLOCKS = (3, 4, 6, 3)
MEAN_BGR = (103.939, 116.779, 123.68)


class ConvNorm(nn.Module):
    """Convolution, bias included as in Keras, and batch normalization."""

    def __init__(self, inputs: int, outputs: int, side: int, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, side, stride, padding=side // 2)
        self.norm = nn.BatchNorm2d(outputs, eps=1.001e-5, momentum=0.1)

    def forward(self, x: Tensor) -> Tensor:
        """Return the normalized convolution."""
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
        self.standardize = nn.BatchNorm1d(2048, eps=1e-3, momentum=0.1, affine=False)
        self.embedding_256, self.embedding_128 = nn.Linear(2048, 256), nn.Linear(256, 128)
        self.hidden_64, self.probabilities = nn.Linear(128, 64), nn.Linear(64, 4)
        self.dropout = nn.Dropout(dropout)
        self.register_buffer("mean", torch.tensor(MEAN_BGR)[:, None, None])

    def embed(self, rgb: Tensor) -> Tensor:
        """Embed images `(B, S, S, 3)` RGB, 0…255, as `(B, 128)`."""
        x = self.standardize(self.backbone(rgb.flip(-1).permute(0, 3, 1, 2) - self.mean))
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
    for ours, theirs in (("running_mean", "moving_mean"), ("running_var", "moving_variance")):
        setattr(model.standardize, ours, torch.tensor(arrays[f"standardize/{theirs}"]))
    for name in ("embedding_256", "embedding_128", "hidden_64", "probabilities"):
        layer = getattr(model, name)
        layer.weight.data = torch.tensor(arrays[f"{name}/kernel"]).T.contiguous()
        layer.bias.data = torch.tensor(arrays[f"{name}/bias"])


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
