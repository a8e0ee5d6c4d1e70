"""Apex spotting measured on a stand-in corpus, whose apexes are known."""

import json

import pytest

from casme_tf.errors import UserError
from casme_tf.synthetic import synthesize
from scripts.lab.measure_apex import MeasureApexConfig, measure_apex


def test_spotting_is_measured_against_the_truth(tmp_path):
    corpus = tmp_path / "corpus"
    synthesize(corpus, subjects=2, clips=4, frames=5, seed=1, workers=1)
    out = tmp_path / "apex"
    config = MeasureApexConfig(corpus, out=out, limit=2, workers=1, noise=(1.2,), head=(40.0,))
    assert "2 stand-in clips of 5 frames" in measure_apex(config).describe()
    errors = json.loads((out / "apex.json").read_text())["errors"]
    assert [row["method"] for row in errors] == 2 * ["flow", "ten-cell", "middle frame"]
    drawn = {row["method"]: row["mean"] for row in errors[:3]}
    # One of them raises its upper lids alone, which the flow does not see: the middle is taken.
    assert drawn["flow"] <= drawn["middle frame"]
    assert (out / "apex.csv").read_text().count("\n") == 1 + 2 * 2 * 3
    assert (out / "apex.png").stat().st_size > 5000
    with pytest.raises(UserError, match="--overwrite"):
        measure_apex(config)
    with pytest.raises(UserError, match="stand-in corpus"):
        measure_apex(MeasureApexConfig(tmp_path, out=out / "x"))
