"""Drawn action units next to real means, on made-up means."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from casme_tf.errors import UserError
from casme_tf.labels import ACTION_UNITS
from scripts.lab.fields import Ingredients
from scripts.lab.measure_units import MeasureUnitsConfig, draw_units, main, measure_units


@pytest.fixture(scope="module")
def means(tmp_path_factory):
    """The mean of AU 12 is the drawn one itself at another scale, that of AU 4 its opposite."""
    drawn = draw_units(Ingredients(asymmetry=False))
    path = tmp_path_factory.mktemp("means") / "means.npz"
    arrays = {"au12_mean": 30 * drawn[12] + 5, "au12_clips": 7, "au4_mean": -drawn[4]}
    np.savez(path, **arrays, au43_mean=drawn[12])
    return path


def test_fields_are_correlated_whatever_their_scale(means):
    table, fields = measure_units(means)
    assert table["unit"].tolist() == [4, 12]
    assert table["clips"].tolist() == [0, 7]
    assert table["drawn"].to_numpy() == pytest.approx([-1, 1])
    assert table["described"].iloc[1] < 0.98
    assert [field.shape for field in fields[12]] == [(28, 28, 2)] * 3


def test_the_picture_and_the_table_are_made(means, tmp_path, capsys):
    main(MeasureUnitsConfig(means, tmp_path / "units.png"))
    assert "mean: described" in capsys.readouterr().out
    assert cv2.imread(str(tmp_path / "units.png")).shape[1] > 1000


def test_every_unit_moves_when_drawn():
    for real in (True, False):
        fields = draw_units(Ingredients(asymmetry=False, real=real))
        assert set(fields) == set(ACTION_UNITS)
        assert all(np.abs(field).max() > 0.2 for field in fields.values())


@pytest.mark.parametrize("content", [None, b"no archive", {"other": np.zeros(3)}])
def test_what_holds_no_means_is_refused(tmp_path, content):
    path = tmp_path / "means.npz"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        np.savez(path, **content)
    with pytest.raises(UserError, match="--means must"):
        measure_units(path)
