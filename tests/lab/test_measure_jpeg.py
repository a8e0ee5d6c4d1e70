import io
import sys

import numpy as np
import pytest
from PIL import Image

from casme_tf.clips.frames import JPEG_QUALITY, JPEG_SUBSAMPLING, encode_jpeg
from casme_tf.errors import UserError
from scripts.lab.measure_jpeg import QUALITIES, measure_jpeg_fidelity


@pytest.fixture(scope="module")
def table():
    return measure_jpeg_fidelity()


def test_every_setting_is_measured_on_both_textures(table):
    assert len(table) == 2 * len(QUALITIES) * 2
    assert not table.duplicated(["texture", "quality", "chroma"]).any()
    assert np.isfinite(table.select_dtypes("number")).all(axis=None)


def test_chosen_setting_makes_the_least_motion_and_the_figure_it_claims(table):
    chosen = table[(table.quality == JPEG_QUALITY) & (table.chroma == JPEG_SUBSAMPLING)]
    assert chosen.mean_px.to_numpy() == pytest.approx(0.0055, abs=0.0003)
    assert chosen.color.to_numpy() == pytest.approx(0.47, abs=0.02)
    for texture, rows in table.groupby("texture"):
        best = chosen[chosen.texture == texture].iloc[0]
        assert best.mean_px <= rows.mean_px.min() + 1e-4
        assert best.color == rows.color.min()


def test_motion_falls_as_quality_rises(table):
    for _, rows in table.groupby(["texture", "chroma"]):
        assert rows.sort_values("quality").mean_px.is_monotonic_decreasing


@pytest.mark.parametrize(("subsampling", "factors"), [("4:4:4", (1, 1)), ("4:2:0", (2, 2))])
def test_chroma_sampling_is_what_was_asked_for(subsampling, factors):
    content = encode_jpeg(np.zeros((16, 16, 3), np.uint8), subsampling=subsampling)
    with Image.open(io.BytesIO(content)) as image:
        assert image.layer[0][1:3] == factors


def test_without_the_photograph(monkeypatch):
    monkeypatch.setitem(sys.modules, "skimage.data", None)
    with pytest.raises(UserError, match="scikit-image"):
        measure_jpeg_fidelity()
