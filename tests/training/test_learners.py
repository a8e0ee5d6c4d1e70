"""What a fold needs of a model, for Keras, scikit-learn and others."""

import keras
import numpy as np
import pytest
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.multiclass import OutputCodeClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC, LinearSVC
from sklearn.utils.class_weight import compute_sample_weight
from support.motion_clips import motion_clips, small_network

from casme_tf.arrays import digest, rows_of
from casme_tf.errors import LeakError, UserError
from casme_tf.training.keras_learner import KerasLearner
from casme_tf.training.learners import SklearnLearner, as_learner

MOTION, LABELS, _ = motion_clips(people=4, each=10, size=12)
LABELS = np.where(LABELS == 2, np.arange(40) % 3, LABELS)  # classes of different size


def network(**options) -> keras.Model:
    return small_network(size=12, **options)


def learner(make_model=network, **options) -> KerasLearner:
    return KerasLearner(make_model, **{"classes": 3, "epochs": 3, "batch_size": 7, **options})


def fit(given, clips=slice(None), *, validation=None, seed=5):
    return given.fit({"motion": MOTION[clips]}, LABELS[clips], validation=validation, seed=seed)


def test_training_is_that_of_keras():
    """The same batches, weights of classes, dropout and regularisation; a last batch of 5."""
    ours = learner(learning_rate=0.01)
    history = fit(ours)

    keras.utils.set_random_seed(5)
    theirs = network()
    theirs.compile(
        keras.optimizers.Adam(0.01), "sparse_categorical_crossentropy", metrics=["accuracy"]
    )
    weights = compute_sample_weight("balanced", LABELS)
    rng = np.random.default_rng(5)
    for epoch in range(3):
        order = rng.permutation(40)
        loss = accuracy = 0.0
        for start in range(0, 40, 7):
            rows = order[start : start + 7]
            theirs.reset_metrics()
            logs = theirs.train_on_batch(
                MOTION[rows], LABELS[rows], sample_weight=weights[rows], return_dict=True
            )
            loss += logs["loss"] * len(rows) / 40
            accuracy += logs["accuracy"] * len(rows) / 40
        assert history["loss"][epoch] == pytest.approx(loss, rel=1e-4)
        assert history["accuracy"][epoch] == pytest.approx(accuracy, abs=1e-6)
    assert history["loss"][2] < history["loss"][0]
    for mine, reference in zip(
        ours.model.trainable_variables, theirs.trainable_variables, strict=True
    ):
        np.testing.assert_allclose(mine.numpy(), reference.numpy(), rtol=1e-3, atol=1e-5)


def test_running_statistics_are_those_of_the_training_clips():
    def normalizing():
        x = keras.Input((12, 12, 3), name="motion")
        y = keras.layers.BatchNormalization(name="norm")(x)
        y = keras.layers.Dense(3, activation="softmax")(keras.layers.Flatten()(y))
        return keras.Model(x, y)

    for validation in (None, ({"motion": MOTION[30:]}, LABELS[30:])):
        ours = learner(normalizing, epochs=2, batch_size=8)
        fit(ours, slice(30), validation=validation)
        norm = ours.model.get_layer("norm")
        mean = MOTION[:30].mean((0, 1, 2))
        np.testing.assert_allclose(norm.moving_mean.numpy(), mean, rtol=1e-4, atol=1e-6)
        variance = MOTION[:30].var((0, 1, 2))
        np.testing.assert_allclose(norm.moving_variance.numpy(), variance, rtol=0.02)
        assert norm.momentum == 0.99


def test_frozen_normalization_is_left_alone():
    def frozen():
        x = keras.Input((12, 12, 3), name="motion")
        y = keras.layers.BatchNormalization(name="norm", trainable=False)(x)
        y = keras.layers.BatchNormalization()(y)
        y = keras.layers.Dense(3, activation="softmax")(keras.layers.Flatten()(y))
        return keras.Model(x, y)

    ours = learner(frozen)
    fit(ours)
    assert np.array_equal(ours.model.get_layer("norm").moving_mean.numpy(), np.zeros(3))


def test_a_fit_does_not_depend_on_the_fits_before_it_and_is_traced_once():
    ours = learner()
    fit(ours, slice(30))
    first = ours.predict({"motion": MOTION})
    for clips, seed in ((slice(10, 40), 5), (slice(5), 8)):
        fit(ours, clips, seed=seed)
        assert not np.array_equal(ours.predict({"motion": MOTION}), first)
    fit(ours, slice(30))
    assert np.array_equal(ours.predict({"motion": MOTION}), first)
    assert ours.traces == 1
    fit(ours, slice(30), seed=6)
    assert not np.array_equal(ours.predict({"motion": MOTION}), first)


def test_another_learner_gives_the_same_bits():
    answers = []
    for _ in range(2):
        ours = learner()
        fit(ours)
        answers.append(ours.predict({"motion": MOTION}))
    assert np.array_equal(*answers)
    assert np.allclose(answers[0].sum(1), 1)


def test_the_weights_of_the_epoch_with_the_best_validation_loss_are_kept():
    ours = learner(epochs=12, learning_rate=0.02)
    # With wrong answers the validation loss rises as training goes on.
    apart = {"motion": MOTION[30:]}, (LABELS[30:] + 1) % 3
    history = fit(ours, slice(30), validation=apart)
    best = history["val_loss"].argmin()
    assert best < 11
    of_truth = ours.predict(apart[0])[np.arange(10), apart[1]].astype(float)
    assert -np.log(of_truth).mean() == pytest.approx(history["val_loss"][best], rel=1e-6)
    right = (ours.predict(apart[0]).argmax(1) == apart[1]).mean()
    assert right == history["val_accuracy"][best]
    shorter = fit(learner(epochs=best + 1, learning_rate=0.02), slice(30), validation=apart)
    assert shorter.equals(history.head(best + 1))


def several(as_dict: bool) -> keras.Model:
    face = keras.Input((12, 12, 3), name="face")
    age = keras.Input((2,), name="age")
    joined = keras.layers.Concatenate()([keras.layers.Flatten()(face), age])
    y = keras.layers.Dense(3, activation="softmax")(joined)
    return keras.Model({"face": face, "age": age} if as_dict else [face, age], y)


@pytest.mark.parametrize("as_dict", [True, False])
def test_several_inputs_are_told_apart_by_name(as_dict):
    ours = learner(lambda: several(as_dict))
    age = np.eye(3)[LABELS][:, :2] * 3
    inputs = {"age": age, "face": MOTION}
    ours.fit(inputs, LABELS, validation=None, seed=1)
    answers = ours.predict({"face": MOTION, "age": age})
    expected = ours.model({"face": MOTION, "age": age} if as_dict else [MOTION, age])
    np.testing.assert_allclose(answers, expected, rtol=1e-5)
    assert np.array_equal(ours.predict(inputs), answers)
    with pytest.raises(UserError, match=r"named as the model's inputs, .*Received: face, years"):
        ours.fit({"face": MOTION, "years": age}, LABELS, validation=None, seed=1)
    with pytest.raises(UserError, match=r"age must have the shape \(None, 2\)\. Received: \(40, 3"):
        ours.fit({"face": MOTION, "age": np.zeros((40, 3))}, LABELS, validation=None, seed=1)


def test_a_single_array_may_have_any_name():
    ours = learner()
    ours.fit({"whatever": MOTION}, LABELS, validation=None, seed=5)
    answers = ours.predict({"something": MOTION})
    fit(ours)
    assert np.array_equal(ours.predict({"motion": MOTION}), answers)


class Subclassed(keras.Model):
    def call(self, x):
        return x


@pytest.mark.parametrize(
    ("make_model", "message"),
    [
        (Subclassed, "must know its inputs.*Subclassed"),
        (lambda: network(classes=4), r"each of 3 classes, \(None, 3\)\. Received:.*\(None, 4\)"),
        (iter([network(), several(True)]).__next__, "the same network each time"),
    ],
    ids=["subclassed", "outputs", "differing"],
)
def test_models_that_do_not_fit_are_refused(make_model, message):
    with pytest.raises(UserError, match=message):
        fit(learner(make_model))


def adapted(make_model, **options):
    settings = {"classes": 3, "epochs": 1, "batch_size": 7, "learning_rate": 1e-3, **options}
    return as_learner(make_model, **settings)


def test_a_model_that_is_handed_out_again_is_refused():
    kept = network()
    with pytest.raises(LeakError, match="a model of its own"):
        fit(adapted(lambda: kept))
    shared = keras.layers.Dense(3, activation="softmax")

    def new_body():
        x = keras.Input((12, 12, 3))
        return keras.Model(x, shared(keras.layers.Flatten()(x)))

    with pytest.raises(LeakError, match="a model of its own"):
        fit(adapted(new_body))


def test_what_is_no_model_is_refused():
    with pytest.raises(UserError, match=r"must return a keras\.Model.*Received: int"):
        adapted(lambda: 3)


def test_scikit_learn_sees_rows_of_numbers():
    ours = adapted(lambda: LogisticRegression(max_iter=300))
    age = np.arange(40.0)[:, None]
    history = ours.fit({"face": MOTION[:30], "age": age[:30]}, LABELS[:30], validation=None, seed=0)
    assert history is None
    rows = np.hstack([MOTION.reshape(40, -1), age])
    reference = LogisticRegression(max_iter=300).fit(rows[:30], LABELS[:30])
    answers = ours.predict({"face": MOTION[30:], "age": age[30:]})
    assert np.array_equal(answers, reference.predict_proba(rows[30:]))


def test_a_class_that_training_lacks_has_no_probability():
    ours = SklearnLearner(LogisticRegression, classes=4)
    present = LABELS != 1
    ours.fit({"x": MOTION[present]}, LABELS[present], validation=None, seed=0)
    answers = ours.predict({"x": MOTION})
    assert answers.shape == (40, 4)
    assert not answers[:, [1, 3]].any()
    np.testing.assert_allclose(answers.sum(1), 1)


def test_the_seed_reaches_estimators_that_left_it_open():
    def answers(make_model, seed):
        ours = SklearnLearner(make_model, classes=3)
        ours.fit({"x": MOTION}, LABELS, validation=None, seed=seed)
        return ours.predict({"x": MOTION})

    def forest():
        return make_pipeline(RandomForestClassifier(5))

    assert np.array_equal(answers(forest, 1), answers(forest, 1))
    assert not np.array_equal(answers(forest, 1), answers(forest, 2))
    fixed = [answers(lambda: RandomForestClassifier(5, random_state=7), seed) for seed in (1, 2)]
    assert np.array_equal(*fixed)


def only_predicts() -> OutputCodeClassifier:
    return OutputCodeClassifier(LinearSVC(random_state=0), random_state=0)


@pytest.mark.parametrize(
    "make_model", [LinearSVC, SVC, lambda: make_pipeline(StandardScaler(), SVC()), only_predicts]
)
@pytest.mark.parametrize("classes", [2, 3])
def test_scikit_learn_without_probabilities_predicts_its_own_classes(make_model, classes):
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(classes), 10)
    x = rng.normal(size=(len(labels), 5)) + labels[:, None]
    learner = as_learner(make_model, classes=classes + 1, epochs=1, batch_size=1, learning_rate=0.1)
    learner.fit({"x": x}, labels, validation=None, seed=0)
    probabilities = learner.predict({"x": x})
    np.testing.assert_allclose(probabilities.sum(axis=1), 1)
    assert not probabilities[:, classes].any()  # training lacks it
    reference = make_model()
    reference.set_params(
        **{
            k: 0
            for k, v in reference.get_params().items()
            if k.endswith("random_state") and v is None
        }
    )
    np.testing.assert_array_equal(probabilities.argmax(axis=1), reference.fit(x, labels).predict(x))


@pytest.mark.parametrize("model", [SVC(), 3, keras.Sequential([keras.Input((2,))])])
def test_a_model_in_place_of_what_makes_it_is_refused(model):
    with pytest.raises(UserError, match="must be a function that makes a new model"):
        as_learner(model, classes=2, epochs=1, batch_size=1, learning_rate=0.1)


def test_a_sequential_model_learns_as_the_functional_one():
    def layers() -> list:
        return [keras.layers.Dense(4, activation="relu"), keras.layers.Dense(2, "softmax")]

    def functional() -> keras.Model:
        x = inputs = keras.Input((3,), name="x")
        for layer in layers():
            x = layer(x)
        return keras.Model(inputs, x)

    x = np.random.default_rng(1).normal(size=(12, 3)).astype(np.float32)
    answers = []
    for make in (functional, lambda: keras.Sequential([keras.Input((3,)), *layers()])):
        learner = as_learner(make, classes=2, epochs=3, batch_size=4, learning_rate=0.1)
        learner.fit({"x": x}, np.tile([0, 1], 6), validation=None, seed=0)
        answers.append(learner.predict({"x": x}))
    np.testing.assert_array_equal(*answers)


def test_a_digest_tells_values_shapes_types_and_names_apart():
    values = np.arange(6.0)
    others = [values + 1e-12, values.reshape(2, 3), values.astype("f4"), {"a": values}]
    others += [{"b": values}, [values], [values[:3], values[3:]], [values, None]]
    digests = [digest(each) for each in (values, *others)]
    assert len(set(digests)) == len(digests)
    assert digest(values[::-1]) == digest(values[::-1].copy())


def test_rows_are_copies_from_which_the_rest_cannot_be_reached():
    whole = {"onset": np.arange(60.0).reshape(10, 2, 3), "label": np.arange(10)}
    rows = rows_of(whole, np.array([7, 2]))
    assert np.array_equal(rows["onset"], whole["onset"][[7, 2]])
    assert rows["label"].tolist() == [7, 2]
    for name, part in rows.items():
        while part is not None:
            assert part.shape[0] == 2
            assert not np.shares_memory(part, whole[name])
            part = part.base
    with pytest.raises(ValueError, match="read-only"):
        rows["onset"][0] = 0
