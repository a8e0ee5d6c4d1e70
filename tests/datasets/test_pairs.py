import cv2
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

from casme_tf.clips.images import read_rgb
from casme_tf.datasets.pairs import load_pairs, resize_frame
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
