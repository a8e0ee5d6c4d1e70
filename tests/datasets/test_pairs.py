import cv2
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

from casme_tf.clips.images import read_rgb
from casme_tf.datasets.pairs import load_pairs, resize_frame
from casme_tf.labels import CLASSES, class_of
from casme_tf.layers import FlowToColor
from casme_tf.models import flow_classifier, split_model
from casme_tf.training.augmentation import Augmentation
from casme_tf.training.batches import compute_motion, evaluation_batches, training_batches


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
    flow = compute_motion(motion, some, batch=2)
    assert flow.shape == (5, 96, 96, 2)
    for i in range(5):
        grey = [cv2.cvtColor(some[name][i], cv2.COLOR_RGB2GRAY) for name in ("onset", "apex")]
        reference = cv2.calcOpticalFlowFarneback(*grey, None, 0.5, 3, 19, 5, 7, 1.2, 0)
        inside = np.s_[20:-20, 20:-20]
        np.testing.assert_allclose(flow[i][inside], reference[inside], atol=1e-3)


def batches_of(epochs: int, first_epoch: int = 0, seed: int = 4, **kwargs) -> list:
    flow = np.random.default_rng(0).normal(size=(23, 32, 32, 2)).astype(np.float32)
    dataset = training_batches(
        flow,
        np.arange(23),
        batch_size=5,
        epochs=epochs,
        first_epoch=first_epoch,
        seed=seed,
        augmentation=Augmentation(),
        encoding=FlowToColor(),
        **kwargs,
    )
    return [(x.numpy(), y.numpy()) for x, y in dataset]


def test_each_epoch_has_each_clip_at_most_once_in_another_order():
    batches = batches_of(3)
    assert len(batches) == 3 * 4
    epochs = [np.concatenate([y for _, y in batches[i : i + 4]]) for i in (0, 4, 8)]
    assert all(len(set(epoch)) == 20 for epoch in epochs)
    assert not np.array_equal(epochs[0], epochs[1])


def test_an_epoch_depends_on_the_seed_and_its_number_alone():
    whole = batches_of(3)
    again = batches_of(3, first_epoch=2)
    other = batches_of(3, first_epoch=2, seed=5)
    assert len(again) == 4
    for (x, y), (x_again, y_again) in zip(whole[8:], again, strict=True):
        np.testing.assert_array_equal(x, x_again)
        np.testing.assert_array_equal(y, y_again)
    assert not np.array_equal(whole[8][1], other[0][1])


def test_augmentation_differs_between_batches_and_epochs():
    flow = np.random.default_rng(0).normal(size=(1, 32, 32, 2)).astype(np.float32)
    same = np.repeat(flow, 8, axis=0)
    dataset = training_batches(
        same, np.zeros(8), batch_size=4, epochs=2, seed=0, augmentation=Augmentation()
    )
    images = np.concatenate([x.numpy() for x, _ in dataset])
    distinct = {image.tobytes() for image in images}
    assert len(distinct) == len(images) == 16


def test_no_python_runs_in_a_batch():
    flow = np.zeros((8, 32, 32, 2), np.float32)
    dataset = training_batches(
        flow, np.zeros(8), batch_size=4, epochs=1, seed=0, augmentation=Augmentation()
    )
    stack, operators = [dataset], set()
    while stack:
        node = stack.pop()
        stack += node._inputs()
        for function in node._functions():
            operators |= {op.type for op in function.function.graph.get_operations()}
    assert operators
    assert not operators & {"PyFunc", "EagerPyFunc", "PyFuncStateless"}


def test_evaluation_has_each_clip_once_in_order():
    motion = np.arange(11 * 32 * 32 * 2, dtype=np.float32).reshape(11, 32, 32, 2)
    dataset = evaluation_batches(motion, np.arange(11), batch_size=4)
    assert np.concatenate([y for _, y in dataset]).tolist() == list(range(11))
    np.testing.assert_array_equal(np.concatenate([x for x, _ in dataset]), motion)
