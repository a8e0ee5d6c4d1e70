import os
import shutil
from contextlib import contextmanager

import cv2
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

from casme_tf.clips.frames import read_rgb
from casme_tf.datasets import pairs as pairs_module
from casme_tf.datasets.pairs import load_pairs, resize_frame
from casme_tf.errors import UserError
from casme_tf.labels import CLASSES, class_of
from casme_tf.models import flow_classifier, split_model


@pytest.fixture(scope="module")
def pairs(data_dir):
    return load_pairs(data_dir, 96)


def test_pairs_are_the_prepared_ones_in_order(pairs, prepared):
    manifest = pd.read_csv(prepared / "manifest.csv", dtype=str)
    assert pairs.clips[["subject", "clip"]].to_numpy().tolist() == (
        manifest[["subject", "clip"]].sort_values(["subject", "clip"]).to_numpy().tolist()
    )
    emotions = dict(zip(manifest["clip"] + manifest["subject"], manifest["emotion"], strict=True))
    for i, row in pairs.clips.iterrows():
        assert CLASSES[pairs.labels[i]] == class_of(emotions[row["clip"] + row["subject"]])
    row = pairs.clips.iloc[7]
    path = prepared / row["subject"] / f"ROI_{row['clip']}" / "apex_frame.jpg"
    expected = resize_frame(tf.constant(read_rgb(path)), 96)
    np.testing.assert_array_equal(pairs.frames["apex"][7], expected)


def test_frames_are_resized_once_until_the_data_set_is_another(data_dir, tmp_path, monkeypatch):
    copy = tmp_path / "tfds"
    shutil.copytree(data_dir, copy, ignore=shutil.ignore_patterns("*.npy"))
    first = load_pairs(copy, 32)
    assert len(list(copy.rglob("*_32px_*.npy"))) == 2

    def refuse(frame, size):
        raise AssertionError("resized again")

    monkeypatch.setattr(pairs_module, "resize_frame", refuse)
    again = load_pairs(copy, 32)
    for name, frames in first.frames.items():
        np.testing.assert_array_equal(again.frames[name], frames)
    pd.testing.assert_frame_equal(again.clips, first.clips)
    (records,) = copy.rglob("*.tfrecord*")
    os.utime(records, (1, 1))
    with pytest.raises(Exception, match="resized again"):
        load_pairs(copy, 32)


def test_a_data_set_in_a_folder_that_cannot_be_written_is_read_all_the_same(
    data_dir, tmp_path, monkeypatch
):
    copy = tmp_path / "tfds"
    shutil.copytree(data_dir, copy, ignore=shutil.ignore_patterns("*.npy"))

    @contextmanager
    def read_only(path):
        raise UserError(f"{path} cannot be written")
        yield

    monkeypatch.setattr(pairs_module, "atomic_file", read_only)
    assert len(load_pairs(copy, 32)) == len(load_pairs(data_dir, 32))
    assert not list(copy.rglob("*.npy"))


def test_the_mark_of_the_stand_in_corpus_reaches_the_pairs(pairs, prepared):
    manifest = pd.read_csv(prepared / "manifest.csv", dtype=str)
    assert set(manifest["corpus"]) == {"stand-in"}
    assert pairs.corpus == "stand-in"


def test_cached_motion_is_opencvs_flow(pairs):
    motion, _, _ = split_model(flow_classifier(frame_size=96, network_size=96))
    some = {name: frames[:5] for name, frames in pairs.frames.items()}
    flow = motion.predict(some, batch_size=2, verbose=0)
    assert flow.shape == (5, 96, 96, 2)
    for i in range(5):
        gray = [cv2.cvtColor(some[name][i], cv2.COLOR_RGB2GRAY) for name in ("onset", "apex")]
        reference = cv2.calcOpticalFlowFarneback(*gray, None, 0.5, 3, 19, 5, 7, 1.2, 0)
        inside = np.s_[20:-20, 20:-20]
        np.testing.assert_allclose(flow[i][inside], reference[inside], atol=1e-3)
