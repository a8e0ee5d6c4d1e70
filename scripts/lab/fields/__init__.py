"""Drawn fields of motion by the thousand, to learn from without any frame of a face."""

from scripts.lab.fields.expressions import DRAWN_EMOTIONS
from scripts.lab.fields.ingredients import Ingredients
from scripts.lab.fields.motion_fields import SIZE, MotionFields, draw_fields

__all__ = ["DRAWN_EMOTIONS", "SIZE", "Ingredients", "MotionFields", "draw_fields"]
