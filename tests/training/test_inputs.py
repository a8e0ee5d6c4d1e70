import pickle

import keras
import numpy as np
import pandas as pd
import pytest
from scipy.special import softmax
from sklearn.svm import SVC
from support.moving_pairs import random_pair

from casme_tf.errors import LeakError
from casme_tf.evaluation.leaks import require_unseen
from casme_tf.layers import FarnebackFlow, FlowToColor, RGBToGray, UVStrain
from casme_tf.models import ARCHITECTURES
from casme_tf.models.estimators import MotionSVM
from casme_tf.models.resnet50 import flow_head, of_copies, siamese_head
from casme_tf.runs import RunRecord
from casme_tf.training.inputs import ClipInputs, mirror_frames, mirror_motion, swap_copies
from casme_tf.training.learners import SklearnLearner, resolve
from casme_tf.training.settings import FitConfig

PIXELS = 6 * 6


@pytest.fixture(scope="module")
def frames() -> dict[str, np.ndarray]:
    pairs = [random_pair(64, 64, seed) for seed in range(9)]  # a batch of 8, and one left over
    onset, apex = (np.repeat(np.stack(x)[..., None], 3, axis=-1) for x in zip(*pairs, strict=True))
    return {"onset": onset, "apex": apex}


@pytest.fixture(scope="module")
def clips(frames) -> ClipInputs:
    return ClipInputs(frames, network_size=32, weights="none", seed=1)


@pytest.fixture(scope="module")
def motion() -> tuple[np.ndarray, np.ndarray]:
    """Flattened 6 × 6 images of three channels, 60 clips of three classes, and their classes."""
    rng = np.random.default_rng(0)
    labels = np.tile([0, 1, 2], 20)
    kinds = rng.normal(size=(3, PIXELS, 3))
    images = (kinds[labels] + rng.normal(size=(60, PIXELS, 3))) * [0.2, 0.3, 0.01] + [0, 0, 0.02]
    return images.reshape(60, -1), labels


def test_motion_is_what_the_layers_give(clips, frames):
    gray = {name: RGBToGray()(x) for name, x in frames.items()}
    expected = UVStrain()(FarnebackFlow()(gray))
    np.testing.assert_allclose(clips.uv_strain["motion"], expected, atol=1e-5)
    assert clips.uv_strain["motion"] is clips.uv_strain["motion"]  # computed once
    alone = ClipInputs(frames)
    np.testing.assert_array_equal(alone.uv_strain["motion"], clips.uv_strain["motion"])
    assert "flow" not in vars(alone)  # the flow of all clips is never in memory


def test_the_head_may_be_left_to_move(clips, frames):
    left = ClipInputs(frames, head_motion=None)
    left.__dict__["flow"] = clips.flow
    still, moving = clips.uv_strain["motion"], left.uv_strain["motion"]
    np.testing.assert_allclose(np.median(still[..., :2], (1, 2)), 0, atol=1e-6)
    assert np.abs(np.median(moving[..., :2], (1, 2))).max() > 0.5


def test_flow_features_are_those_of_the_flow_drawn_in_color(clips):
    image = FlowToColor(whole_numbers=False)(keras.layers.Resizing(32, 32)(clips.flow))
    expected = clips.backbone(image, training=False)
    features = clips.flow_features["flow"]
    assert features.shape == (9, 2, 2048)
    np.testing.assert_allclose(features[:, 0], expected, rtol=1e-3, atol=1e-3)
    assert np.ptp(features[:, 0], axis=0).max() > 0.1


def test_mirrored_copies_are_features_of_mirrored_frames(clips, frames):
    flipped = ClipInputs({k: mirror_frames(x) for k, x in frames.items()}, network_size=32)
    flipped.__dict__["_traced_backbone"] = clips._traced_backbone
    straight, swapped = clips.frame_features, swap_copies(clips.frame_features)
    for name in ("onset", "apex"):
        np.testing.assert_allclose(
            flipped.frame_features[name], swapped[name], rtol=1e-3, atol=1e-3
        )
        assert np.abs(straight[name] - swapped[name]).max() > 0.1
    gray = {name: RGBToGray()(x) for name, x in flipped.frames.items()}
    flipped_flow = FarnebackFlow()(gray).numpy()
    np.testing.assert_allclose(flipped_flow, mirror_motion({"flow": clips.flow})["flow"], atol=2e-3)


def test_without_mirroring_there_is_one_copy(clips, frames):
    plain = ClipInputs(frames, network_size=32, mirrored=False)
    plain.__dict__["_traced_backbone"] = clips._traced_backbone
    np.testing.assert_array_equal(plain.frame_features["apex"], clips.frame_features["apex"][:, :1])


def ask(model: keras.Model, inputs: dict[str, np.ndarray]) -> np.ndarray:
    return model(inputs if isinstance(model.input, dict) else next(iter(inputs.values()))).numpy()


@pytest.mark.parametrize("backbone", ["frozen", "trained"])
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_a_model_fits_what_it_is_given_and_can_be_sent_elsewhere(name, backbone, clips):
    if backbone == "trained" and "frozen" not in ARCHITECTURES[name].fits:
        pytest.skip("it has no backbone")
    weights = None if ARCHITECTURES[name].weights == "drawn" else "none"
    config = FitConfig(frame_size=64, network_size=32, weights=weights, backbone=backbone)
    fitting = resolve(name, config, 3)
    make = pickle.loads(pickle.dumps(fitting.make_model))
    inputs = fitting.inputs(clips)
    if fitting.recipe is None:
        learner = SklearnLearner(make, classes=3)
        learner.fit(inputs, np.tile([0, 1, 2], 3), validation=None, seed=0)
        probabilities = learner.predict(inputs)
    else:
        probabilities = ask(make(), inputs)
    assert probabilities.shape == (9, 3)
    np.testing.assert_allclose(probabilities.sum(1), 1, atol=1e-5)
    if fitting.augments:
        mirror = clips.mirror(fitting.fit.inputs)
        mirrored = mirror(inputs)
        assert {k: x.shape for k, x in mirrored.items()} == {k: x.shape for k, x in inputs.items()}
        twice = mirror(mirrored)
        for key, x in inputs.items():
            np.testing.assert_array_equal(twice[key], x)
            assert np.abs(mirrored[key] - x).max() > 0


# The two that are slow and frozen are shown by cross-validation, which fits what training does.
@pytest.mark.parametrize(
    ("name", "backbone"),
    [
        pytest.param("flow", "frozen", marks=pytest.mark.slow),
        pytest.param("flow", "trained", marks=pytest.mark.slow),
        ("siamese", "frozen"),
        pytest.param("siamese", "trained", marks=pytest.mark.slow),
        ("motion_net", "frozen"),
        pytest.param("ststnet", "frozen", marks=pytest.mark.slow),
        ("kernel", "frozen"),
    ],
)
def test_the_model_of_pairs_predicts_what_the_fitted_network_does(name, backbone, clips, frames):
    weights = None if ARCHITECTURES[name].weights == "drawn" else "none"
    config = FitConfig(
        frame_size=64, network_size=32, weights=weights, backbone=backbone, epochs=1, seed=1
    )
    fitting = resolve(name, config, 3)
    learner, inputs = fitting.learner(), fitting.inputs(clips)
    learner.fit(inputs, np.tile([0, 1, 2], 3), validation=None, seed=0)
    model = fitting.pair_model(learner, clips)
    np.testing.assert_allclose(model.predict(frames, verbose=0), learner.predict(inputs), atol=2e-3)


def test_the_majority_is_that_of_the_training_side():
    inputs = {"clip": np.arange(6)[:, None]}
    learner = SklearnLearner(ARCHITECTURES["majority"].fits[""].build, classes=4)
    learner.fit(inputs, np.array([3, 1, 3, 0, 3, 0]), validation=None, seed=0)
    np.testing.assert_allclose(learner.predict(inputs), np.tile([1 / 3, 1 / 6, 0, 1 / 2], (6, 1)))


@pytest.mark.parametrize("head", [flow_head, siamese_head])
def test_heads_have_the_sizes_of_the_architectures(head):
    sizes = {x.name: x.units for x in head().layers if isinstance(x, keras.layers.Dense)}
    assert sizes == {"embedding_256": 256, "embedding_128": 128, "hidden_64": 64} | {
        "probabilities": 4
    }


@pytest.mark.parametrize("head", [flow_head, siamese_head])
def test_heads_look_at_the_first_copy_alone(head):
    keras.utils.set_random_seed(0)
    model = of_copies(head())
    names = [tensor.name for tensor in model.inputs]
    rng = np.random.default_rng(0)
    features = {name: rng.normal(size=(4, 2, 2048)).astype("float32") for name in names}
    other = {k: np.stack([x[:, 0], x[:, 1] + 9], axis=1) for k, x in features.items()}
    answers = [ask(model, x) for x in (features, other, swap_copies(features))]
    np.testing.assert_array_equal(answers[0], answers[1])
    assert np.abs(answers[0] - answers[2]).max() > 1e-3


def test_both_frames_lose_the_same_units():
    """Were they to lose units of their own, a still face would seem to move in training."""
    keras.utils.set_random_seed(0)
    model = of_copies(siamese_head(dropout=0.5))
    features = np.random.default_rng(0).normal(size=(32, 1, 2048)).astype("float32")
    answers = model({"onset": features, "apex": features}, training=True).numpy()
    np.testing.assert_allclose(answers, np.tile(answers[:1], (32, 1)), atol=1e-6)
    moving = model({"onset": features, "apex": features[::-1]}, training=True).numpy()
    assert np.ptp(moving, axis=0).max() > 0.05


def test_the_support_vector_machine_is_scikit_learns_on_scaled_channels(motion):
    images, labels = motion
    train, test = slice(0, 40), slice(40, 60)
    x = images.reshape(60, PIXELS, 3)
    mean, spread = x[train].mean((0, 1)), x[train].std((0, 1))
    scaled = ((x - mean) / spread).reshape(60, -1)
    reference = SVC(class_weight="balanced", break_ties=True).fit(scaled[train], labels[train])
    machine = MotionSVM().fit(images[train], labels[train])
    np.testing.assert_array_equal(machine.predict(images[test]), reference.predict(scaled[test]))
    np.testing.assert_allclose(
        machine.predict_proba(images[test]),
        softmax(reference.decision_function(scaled[test]), axis=1),
        atol=1e-12,
    )
    assert (machine.predict(images[test]) == labels[test]).mean() > 0.8


def test_strain_counts_although_its_numbers_are_small(motion):
    images, labels = motion
    x = images.reshape(60, PIXELS, 3).copy()
    x[..., :2] = np.random.default_rng(1).normal(size=(60, PIXELS, 2))
    strain_alone = x.reshape(60, -1)
    machine = MotionSVM().fit(strain_alone[:40], labels[:40])
    assert machine.score(strain_alone[40:], labels[40:]) > 0.7


@pytest.mark.parametrize("classes", [2, 3])
def test_the_answer_is_the_class_of_the_largest_probability(motion, classes):
    images, labels = motion
    some = labels < classes
    machine = MotionSVM().fit(images[some], labels[some] + 5)
    probabilities = machine.predict_proba(images)
    assert probabilities.shape == (60, classes)
    np.testing.assert_allclose(probabilities.sum(1), 1)
    np.testing.assert_array_equal(machine.predict(images), probabilities.argmax(1) + 5)
    reference = machine.machine_.predict(machine._scaled(images))
    np.testing.assert_array_equal(machine.predict(images), reference)


def test_the_largest_probability_is_the_machines_own_answer_even_in_ties():
    """One-against-one votes often tie between four classes that cannot be told apart."""
    rng = np.random.default_rng(0)
    images, labels = rng.normal(size=(80, 12)), np.tile([0, 1, 2, 3], 20)
    machine = MotionSVM().fit(images, labels)
    others = rng.normal(size=(400, 12))
    np.testing.assert_array_equal(
        machine.predict_proba(others).argmax(1), machine.machine_.predict(machine._scaled(others))
    )


@pytest.fixture
def trained(tmp_path):
    """Return a function that makes the folder of a run with weights and says where they are."""

    def make(name: str, *, weights: str = "imagenet", corpus: str = "casme2", leak=None) -> str:
        folder = tmp_path / name
        folder.mkdir()
        split = {"corpus": corpus, "leak": leak}
        RunRecord({"weights": weights}, ["a"], split).save(folder / "config.json")
        rows = [("sub01", "EP1", "train"), ("sub02", "EP1", "validation"), ("sub03", "EP1", "test")]
        table = pd.DataFrame(rows, columns=["subject", "clip", "part"])
        table.to_csv(folder / "split.csv", index=False)
        (folder / "model.keras").touch()
        return str(folder / "model.keras")

    return make


@pytest.mark.parametrize("person", ["sub01", "sub02"])
def test_weights_that_saw_a_tested_person_are_refused(trained, person):
    with pytest.raises(
        LeakError, match=f"of the run mine, trained on 1 of 2.*first casme2/{person}"
    ):
        require_unseen(trained("mine"), [person, "sub09"], "casme2")


def test_weights_that_saw_nobody_tested_are_taken(trained, tmp_path):
    require_unseen("imagenet", ["sub01"], "casme2")
    require_unseen("none", ["sub01"], "casme2")
    require_unseen(trained("mine"), ["sub03", "sub09"], "casme2")
    require_unseen(trained("drawn", corpus="stand-in"), ["sub01"], "casme2")
    require_unseen(str(tmp_path / "resnet50_notop.h5"), ["sub01"], "casme2")


def test_subjects_of_different_databases_are_different_and_of_a_composite_the_same(trained):
    weights = trained("mine")
    require_unseen(weights, ["sub01"], "casme", "casme")
    require_unseen(weights, ["samm/sub01"], "composite")
    for corpus in ("composite", "motion-images"):
        with pytest.raises(LeakError, match=r"trained on 1 of 2.*first casme2/sub01"):
            require_unseen(weights, ["casme2/sub01", "samm/006"], corpus)
    require_unseen(weights, ["casme2/sub01"], "stand-in")


def test_weights_chosen_on_the_test_clips_have_seen_them(trained):
    with pytest.raises(LeakError, match="the first casme2/sub03"):
        require_unseen(trained("random", leak="subjects are in both"), ["sub03"], "casme2")


def test_weights_are_asked_where_they_began(trained):
    first = trained("first")
    second = trained("second", weights=first, corpus="stand-in")
    with pytest.raises(LeakError, match="of the run first"):
        require_unseen(second, ["sub01"], "casme2")


def test_a_run_without_a_split_is_asked_for_its_subjects(trained, tmp_path):
    weights = trained("old")
    (tmp_path / "old" / "split.csv").unlink()
    parts = {"train": {"subjects": ["sub07"]}, "validation": {"subjects": ["sub08"]}}
    RunRecord({}, ["a"], {"corpus": "casme2", "parts": parts}).save(
        tmp_path / "old" / "config.json"
    )
    with pytest.raises(LeakError, match="sub08"):
        require_unseen(weights, ["sub08"], "casme2")
    require_unseen(weights, ["sub01"], "casme2")
