"""The data set `samm`; importing this registers its builder with TFDS."""

from .samm_dataset_builder import Builder

__all__ = ["Builder"]
