"""The data set `casme`; importing this registers its builder with TFDS."""

from .casme_dataset_builder import Builder

__all__ = ["Builder"]
