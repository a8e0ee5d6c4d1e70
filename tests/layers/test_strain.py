"""dx, dy and strain against NumPy, on fields whose answer is known, and wherever they run."""

from __future__ import annotations

import cv2
import keras
import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter

from casme_tf.layers import UVStrain
from casme_tf.layers.strain import median, similarity_motion
from casme_tf.training.inputs import mirror_flow

HEAD_MOTIONS = ("median", "similarity", None)


def area_average(image: np.ndarray, size: int) -> np.ndarray:
    """Cut each pixel into size × size pieces, so that each cell is made of whole ones."""
    height, width = image.shape
    pieces = image.astype(np.float64).repeat(size, axis=0).repeat(size, axis=1)
    return pieces.reshape(size, height, size, width).mean(axis=(1, 3))


def places(height: int, width: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    """y and x of the cells: the averages of those of their pixels, px."""
    y, x = np.mgrid[:height, :width]
    return area_average(y, size)[:, 0], area_average(x, size)[0]


def similarity_reference(field: np.ndarray, y: np.ndarray, x: np.ndarray) -> np.ndarray:
    """The robust fit by NumPy's solver, all vectors' components as rows of one system."""
    x, y = (each.ravel() for each in np.meshgrid(x, y))
    one, none = np.ones_like(x), np.zeros_like(x)
    rows = np.concatenate(
        [np.stack([one, none, x, -y], axis=1), np.stack([none, one, y, x], axis=1)]
    )
    vectors = field.reshape(2, -1)
    weights = np.ones(len(x))
    for refit in range(6):
        root = np.sqrt(np.tile(weights, 2))
        found = np.linalg.lstsq(rows * root[:, None], vectors.ravel() * root, rcond=None)[0]
        motion = (rows @ found).reshape(vectors.shape)
        square = ((vectors - motion) ** 2).sum(axis=0)
        if refit < 5:
            weights = (1 + square / max(3 * np.median(square), 1e-6)) ** -2.0
    return motion.reshape(field.shape)


def reference(flow: np.ndarray, size: int, head_motion: str | None) -> np.ndarray:
    field = np.stack([area_average(flow[..., 0], size), area_average(flow[..., 1], size)])
    y, x = places(*flow.shape[:2], size)
    if head_motion == "median":
        field -= np.median(field, axis=(1, 2), keepdims=True)
    elif head_motion == "similarity":
        field -= similarity_reference(field, y, x)
    (u_y, u_x), (v_y, v_x) = (np.gradient(component, y, x) for component in field)
    epsilon = np.array([[u_x, (u_y + v_x) / 2], [(u_y + v_x) / 2, v_y]])
    return np.stack([*field, np.sqrt((epsilon**2).sum(axis=(0, 1)))], axis=-1)


def linear(
    height: int, width: int, shift=(0.0, 0.0), matrix=((0.0, 0.0), (0.0, 0.0))
) -> np.ndarray:
    """The field `shift + matrix · (x, y)`, `(1, H, W, 2)` float32, about the middle."""
    y, x = np.mgrid[:height, :width]
    p = np.stack([x - (width - 1) / 2, y - (height - 1) / 2], axis=-1)
    return (np.asarray(shift) + p @ np.transpose(matrix)).astype(np.float32)[None]


def random_flows(height: int, width: int, count: int = 3) -> np.ndarray:
    """A head that moves and turns, parts that move on it, and noise: `(count, H, W, 2)` float32."""
    rng = np.random.default_rng(height + width)
    flows = []
    for _ in range(count):
        parts = cv2.resize(
            rng.normal(0, 0.5, (6, 6, 2)), (width, height), interpolation=cv2.INTER_CUBIC
        )
        head = linear(height, width, rng.normal(0, 2, 2), rng.normal(0, 0.01, (2, 2)))[0]
        flows.append(head + parts + rng.normal(0, 0.05, head.shape))
    return np.stack(flows).astype(np.float32)


@pytest.mark.parametrize("head_motion", HEAD_MOTIONS)
@pytest.mark.parametrize(
    ("height", "width", "size"), [(112, 112, 28), (72, 100, 28), (70, 64, 9), (64, 65, 64)]
)
def test_equals_numpy(height, width, size, head_motion):
    flows = random_flows(height, width)
    found = UVStrain(size, head_motion)(flows)
    assert found.dtype == tf.float32
    assert found.shape == (len(flows), size, size, 3)
    for each, flow in zip(found.numpy(), flows, strict=True):
        expected = reference(flow, size, head_motion)
        assert np.abs(expected[..., 2]).max() > 0.02
        np.testing.assert_allclose(each, expected, atol=1e-5)


@pytest.mark.parametrize("count", [1, 2, 7, 784])
def test_the_median_is_numpys(count):
    values = np.random.default_rng(count).normal(size=(3, 2, count)).astype(np.float32)
    values[1] = np.round(values[1])  # with ties
    expected = np.median(values, axis=-1, keepdims=True)
    np.testing.assert_array_equal(median(tf.constant(values)), expected)


@pytest.mark.parametrize("size", [8, 28])
@pytest.mark.parametrize("shape", [(64, 64), (96, 70)])
def test_a_translation_is_the_heads(shape, size):
    flow = linear(*shape, shift=(3.3, -1.7))
    for head_motion in ("median", "similarity"):
        np.testing.assert_allclose(UVStrain(size, head_motion)(flow), 0, atol=2e-6)
    kept = UVStrain(size, None)(flow).numpy()
    np.testing.assert_allclose(kept, np.broadcast_to([3.3, -1.7, 0], kept.shape), atol=2e-6)


@pytest.mark.parametrize("shape", [(64, 64), (224, 224), (130, 97)])
def test_a_similarity_is_the_heads(shape):
    zoom, turn = 0.03, -0.05
    flow = linear(*shape, shift=(4.1, 2.5), matrix=((zoom, -turn), (turn, zoom)))
    assert np.abs(flow).max() > 5
    np.testing.assert_allclose(UVStrain(28, "similarity")(flow), 0, atol=2e-5)
    left = UVStrain(28, "median")(flow).numpy()
    assert np.abs(left[..., :2]).max() > 1


DEFORMATIONS = {
    "zoom": (((0.05, 0), (0, 0.05)), 0.05 * np.sqrt(2)),
    "rotation": (((0, -0.05), (0.05, 0)), 0.0),
    "stretch": (((0.04, 0), (0, 0)), 0.04),
    "simple shear": (((0, 0.06), (0, 0)), 0.06 / np.sqrt(2)),
    "pure shear": (((0, 0.03), (0.03, 0)), 0.03 * np.sqrt(2)),
    "all": (((0.01, 0.02), (0.04, -0.03)), np.sqrt(0.01**2 + 0.03**2 + 2 * 0.03**2)),
}


@pytest.mark.parametrize(("matrix", "strain"), DEFORMATIONS.values(), ids=DEFORMATIONS)
@pytest.mark.parametrize("size", [7, 28, 30])
@pytest.mark.parametrize("shape", [(64, 64), (224, 224), (41, 90)])
def test_strain_is_px_per_px_at_any_frame_and_output_size(matrix, strain, shape, size):
    flow = linear(*shape, shift=(2, -3), matrix=matrix)
    for head_motion in ("median", None):
        found = UVStrain(size, head_motion)(flow)[..., 2]
        np.testing.assert_allclose(found, strain, atol=3e-5)


def test_a_similarity_takes_its_zoom_out_of_the_strain():
    flow = linear(64, 64, matrix=((0.05, 0.01), (-0.01, 0.02)))
    found = UVStrain(16, "similarity")(flow)[..., 2]
    np.testing.assert_allclose(found, 0.015 * np.sqrt(2), atol=1e-5)


def test_dx_and_dy_are_px_of_the_input_and_no_image_scales_itself():
    flow = random_flows(64, 64, count=1)
    layer = UVStrain(16)
    np.testing.assert_allclose(layer(0.1 * flow), 0.1 * layer(flow), atol=1e-6)
    enlarged = 2 * flow.repeat(2, axis=1).repeat(2, axis=2)
    np.testing.assert_allclose(layer(enlarged), layer(flow) * [2, 2, 1], atol=1e-5)


def test_noise_is_averaged_before_it_becomes_a_magnitude():
    noise = np.random.default_rng(0).normal(0, 0.1, (1, 224, 224, 2)).astype(np.float32)
    (u_y, u_x), (v_y, v_x) = (np.gradient(noise[0, ..., i]) for i in (0, 1))
    fine = np.sqrt(u_x**2 + v_y**2 + (u_y + v_x) ** 2 / 2)
    assert UVStrain()(noise).numpy()[..., 2].mean() < 0.02 * fine.mean()


def with_a_part_that_moves(flow: np.ndarray, share: float, seed: int) -> np.ndarray:
    """Move a disc, of `share` of the image, by 5 px in some direction."""
    rng = np.random.default_rng(seed)
    _, height, width, _ = flow.shape
    y, x = np.mgrid[:height, :width]
    distance = np.hypot(x - rng.uniform(0, width), y - rng.uniform(0, height))
    angle = rng.uniform(0, 2 * np.pi)
    disc = distance <= np.quantile(distance, share)
    return flow + disc[None, ..., None] * (5 * np.float32([np.cos(angle), np.sin(angle)]))


@pytest.mark.parametrize("seed", range(4))
def test_a_tenth_that_moves_by_5_px_does_not_move_the_median(seed):
    noise = np.random.default_rng(seed).normal(0, 0.05, (1, 28, 28, 2)).astype(np.float32)
    still = linear(28, 28, shift=(1.5, -0.5)) + noise
    moving = with_a_part_that_moves(still, 0.1, seed)
    assert np.abs((moving - still).mean(axis=(1, 2))).max() > 0.3  # as it does the mean
    difference = (UVStrain()(moving) - UVStrain()(still)).numpy()[..., :2]
    change = np.median(difference, axis=(1, 2))
    assert np.abs(change).max() < 0.02


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(("share", "limit"), [(0.1, 0.02), (0.25, 0.05)])
def test_a_part_that_moves_by_5_px_barely_moves_the_similarity(seed, share, limit):
    noise = np.random.default_rng(seed).normal(0, 0.1, (1, 224, 224, 2)).astype(np.float32)
    head = linear(224, 224, shift=(2, 1), matrix=((0.01, 0.02), (-0.02, 0.01)))
    moving = with_a_part_that_moves(head + noise, share, seed)
    y, x = places(224, 224, 28)
    positions = np.stack(np.meshgrid(x, y)).reshape(2, -1).astype(np.float32)

    def vectors(flow: np.ndarray) -> np.ndarray:
        return np.stack([area_average(flow[0, ..., i], 28).ravel() for i in (0, 1)])

    fitted = similarity_motion(tf.constant(vectors(moving)[None], tf.float32), positions)
    assert np.abs(fitted[0] - vectors(head)).max() < limit
    plain = vectors(moving).mean(axis=1) - vectors(head).mean(axis=1)
    assert np.hypot(*plain) > 10 * limit  # px, as plain least squares is moved


@pytest.mark.parametrize("head_motion", HEAD_MOTIONS)
@pytest.mark.parametrize("width", [96, 75])
def test_mirrored_flow_gives_the_mirrored_output(head_motion, width):
    flows = random_flows(80, width)
    layer = UVStrain(28, head_motion)
    np.testing.assert_allclose(layer(mirror_flow(flows)), mirror_flow(layer(flows)), atol=1e-5)


def test_half_precision_of_the_network_leaves_it_in_float32():
    flows = random_flows(64, 64)
    expected = UVStrain(head_motion="similarity")(flows)
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        layer = UVStrain(head_motion="similarity")
        found = layer(flows)
    finally:
        keras.config.set_dtype_policy("float32")
    assert found.dtype == tf.float32
    np.testing.assert_array_equal(found, expected)
    assert not layer.weights


@pytest.fixture(scope="module")
def flows() -> np.ndarray:
    return random_flows(72, 100)


@pytest.fixture(scope="module")
def model() -> keras.Model:
    """The three ways to take the head's motion out, side by side in nine channels."""
    flow = keras.Input((72, 100, 2), name="flow")
    outputs = [UVStrain(28, head_motion)(flow) for head_motion in HEAD_MOTIONS]
    return keras.Model(flow, keras.layers.Concatenate()(outputs))


@pytest.fixture(scope="module")
def eager(model, flows) -> np.ndarray:
    found = model(flows).numpy()
    for index, head_motion in enumerate(HEAD_MOTIONS):
        expected = UVStrain(28, head_motion)(flows).numpy()
        np.testing.assert_array_equal(found[..., 3 * index : 3 * index + 3], expected)
    return found


def test_tf_function_and_tf_data(model, flows, eager):
    any_batch = tf.TensorSpec((None, 72, 100, 2))
    np.testing.assert_allclose(tf.function(model, [any_batch])(flows), eager, atol=1e-5)
    batches = tf.data.Dataset.from_tensor_slices(flows).batch(2).map(model)
    np.testing.assert_allclose(np.concatenate(list(batches)), eager, atol=1e-5)


def test_saved_and_reloaded(model, flows, eager, tmp_path):
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(again(flows), eager)


@pytest.fixture(scope="module")
def tflite(model) -> bytes:
    concrete = tf.function(model).get_concrete_function(tf.TensorSpec((None, 72, 100, 2)))
    converter = tf.lite.TFLiteConverter.from_concrete_functions([concrete])
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
    return converter.convert()


@pytest.mark.parametrize("batch", [1, 3])
def test_litert(tflite, flows, eager, batch):
    interpreter = Interpreter(model_content=tflite, num_threads=2)
    (source,), (target,) = interpreter.get_input_details(), interpreter.get_output_details()
    interpreter.resize_tensor_input(source["index"], (batch, 72, 100, 2))
    interpreter.allocate_tensors()
    for start in range(0, len(flows), batch):
        interpreter.set_tensor(source["index"], flows[start : start + batch])
        interpreter.invoke()
        found = interpreter.get_tensor(target["index"])
        np.testing.assert_allclose(found, eager[start : start + batch], atol=1e-5)


def test_tflite_has_builtin_operators_and_no_float64(tflite):
    parsed = schema.ModelT.InitFromPackedBuf(tflite)
    codes = [max(op.builtinCode, op.deprecatedBuiltinCode) for op in parsed.operatorCodes]
    assert codes
    assert schema.BuiltinOperator.CUSTOM not in codes
    assert all(op.customCode is None for op in parsed.operatorCodes)
    types = {tensor.type for graph in parsed.subgraphs for tensor in graph.tensors}
    assert schema.TensorType.FLOAT64 not in types


def test_config_round_trip():
    layer = UVStrain(size=14, head_motion="similarity", name="motion")
    again = keras.layers.deserialize(keras.layers.serialize(layer))
    assert (again.size, again.head_motion, again.name) == (14, "similarity", "motion")
    default = UVStrain.from_config(UVStrain().get_config())
    assert (default.size, default.head_motion) == (28, "median")
    assert UVStrain.from_config(UVStrain(head_motion=None).get_config()).head_motion is None


def test_wrong_input_is_named():
    for shape in ((64, 64, 2), (1, 64, 64, 3)):
        with pytest.raises(ValueError, match=r"\(B, H, W, 2\)\. Received: shape"):
            UVStrain()(np.zeros(shape, np.float32))
    with pytest.raises(ValueError, match=r"at least its size of 28 px\. Received: shape"):
        UVStrain()(np.zeros((1, 64, 27, 2), np.float32))
    with pytest.raises(ValueError, match="needs to know the height"):
        UVStrain()(keras.Input((None, 64, 2)))
    with pytest.raises(ValueError, match="Received: dtype"):
        UVStrain()(np.zeros((1, 64, 64, 2), np.uint8))
    for size in (1, 0, -3, 28.0, None):
        with pytest.raises(ValueError, match="size must be"):
            UVStrain(size)
    for head_motion in ("mean", "", 0):
        with pytest.raises(ValueError, match="head_motion must be"):
            UVStrain(head_motion=head_motion)
    with pytest.raises(ValueError, match="computes in float32"):
        UVStrain(dtype="bfloat16")
