"""The data set `casme3`; importing this registers its builder with TFDS."""

from .casme3_dataset_builder import Builder

__all__ = ["Builder"]
