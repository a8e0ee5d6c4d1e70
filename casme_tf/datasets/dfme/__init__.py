"""The data set `dfme`; importing this registers its builder with TFDS."""

from .dfme_dataset_builder import Builder

__all__ = ["Builder"]
