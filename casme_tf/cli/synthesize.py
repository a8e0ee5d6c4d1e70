"""Drawing a stand-in corpus: the options, one call, and what is printed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import arg

from casme_tf.cli import keywords


@dataclass(frozen=True)
class SynthesizeConfig:
    """Draw a stand-in for CASME II: raw clips and a coding sheet, in its layout."""

    out: Path
    """Folder to make; it must not exist yet, or be empty."""
    subjects: int = 26
    """Number of subjects."""
    clips: int = 255
    """Number of clips of all subjects together."""
    frames: int = 17
    """Frames of a clip."""
    seed: int = 12
    """Seed of everything drawn."""
    apexes: Annotated[bool, arg(help="Leave the apexes out of the coding sheet.")] = True
    """Name apexes in the coding sheet; without them each has to be found."""
    workers: int | None = None
    """Processes. Default: the number of cores."""


def run(options: SynthesizeConfig) -> None:
    """Draw a stand-in corpus."""
    from casme_tf.synthetic import synthesize

    corpus = synthesize(**keywords(options))
    print(f"raw clips     {corpus.raw}")
    print(f"coding sheet  {corpus.coding}")
    print(f"truth         {corpus.truth}")
