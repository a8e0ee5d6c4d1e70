"""The data set `smic`; importing this registers its builder with TFDS."""

from .smic_dataset_builder import Builder

__all__ = ["Builder"]
