"""What drawn fields of motion are made of, each part of which can be left out."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Ingredients:
    """What varies between drawn fields; leave one out to see whether it matters.

    Attributes:
        variants: Partial and combined sets of action units of each emotion, and units that happen
            to go along; otherwise each emotion's full set alone.
        asymmetry: One side stronger than the other, or alone.
        real: Units also in the form that the published motion of real clips shows; otherwise as
            the Facial Action Coding System describes them.
        extent: Reach, direction, place and shape of each unit's motion differ from subject to
            subject.
        anatomy: Proportions of the face.
        crops: Tight and loose crops, off by up to 15% and tilted; otherwise this package's own.
        drag: An expression drags skin elsewhere along.
        lids: Blinks, and eyes that look elsewhere.
        head: The head shifts, turns, nods and comes closer, in front of a still background.
        smoothing: Motion is blurred, and comes out too small where there is little texture.
        noise: Smooth noise, more of it where there is little texture.
        artifacts: Invented motion at borders, hair and glasses, and patches without any.
        nothing: Fields that are no expression: a still face, lids or head alone, motion of
            something else.
        farneback: A share of the fields is real optical flow between painted skins.
    """

    variants: bool = True
    asymmetry: bool = True
    real: bool = True
    extent: bool = True
    anatomy: bool = True
    crops: bool = True
    drag: bool = True
    lids: bool = True
    head: bool = True
    smoothing: bool = True
    noise: bool = True
    artifacts: bool = True
    nothing: bool = True
    farneback: bool = True
