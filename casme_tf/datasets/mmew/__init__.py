"""The data set `mmew`; importing this registers its builder with TFDS."""

from .mmew_dataset_builder import Builder

__all__ = ["Builder"]
