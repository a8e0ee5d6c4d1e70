"""The data set `fourdme`; importing this registers its builder with TFDS."""

from .fourdme_dataset_builder import Builder

__all__ = ["Builder"]
