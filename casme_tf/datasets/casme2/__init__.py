"""The data set `casme2`; importing this registers its builder with TFDS."""

# Relative, because `tfds build` run in this folder imports it as the top-level package `casme2`.
from .casme2_dataset_builder import Builder

__all__ = ["Builder"]
