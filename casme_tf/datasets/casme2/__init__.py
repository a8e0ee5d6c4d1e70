"""The data set `casme2`; importing this registers its builder with TFDS."""

# Relative, because `tfds build` run in this folder imports it as the top-level package `casme2`.
from .built import open_casme2
from .casme2_dataset_builder import Builder
from .frame_decoders import frame_decoders

__all__ = ["Builder", "frame_decoders", "open_casme2"]
