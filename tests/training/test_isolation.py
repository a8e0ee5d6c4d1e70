import gc

import numpy as np
import pytest
from sklearn.svm import SVC

from casme_tf.arrays import rows_of
from casme_tf.errors import LeakError
from casme_tf.training.learners import FreshModels


class Variable:
    """Stands for a network's weights: compared by value, as arrays are."""

    def __eq__(self, other):
        raise AssertionError("weights must be compared by identity")

    __hash__ = None


class Network:
    def __init__(self, *trainable, frozen=()):
        self.trainable_variables = list(trainable)
        self.variables = [*trainable, *frozen]


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
    free = rows_of(whole["onset"], np.array([1]), read_only=False)
    free[:] = -1
    assert whole["onset"].min() == 0


def test_new_models_pass_and_arguments_are_passed_on():
    models = FreshModels(lambda *, kernel: SVC(kernel=kernel))
    kept = [models(kernel="linear") for _ in range(5)]
    assert {model.kernel for model in kept} == {"linear"}
    frozen = Variable()
    networks = FreshModels(lambda: Network(Variable(), frozen=[frozen]))
    assert len([networks() for _ in range(5)]) == 5


def test_the_same_model_again_is_refused():
    model = SVC()
    models = FreshModels(lambda: model)
    assert models() is model
    with pytest.raises(LeakError, match="Received: a model that an earlier fold was given"):
        models()


def test_a_model_that_comes_back_later_is_refused():
    several = [SVC(), SVC()]
    models = FreshModels(iter([*several, several[0]]).__next__)
    models(), models()
    with pytest.raises(LeakError):
        models()


def test_new_heads_on_one_trained_backbone_are_refused():
    backbone = [Variable(), Variable()]
    models = FreshModels(lambda: Network(*backbone, Variable()))
    models()
    with pytest.raises(LeakError, match="a model with 2 variables that an earlier fold"):
        models()


def test_models_are_not_kept_and_a_reused_address_is_no_reused_model():
    models = FreshModels(lambda: Network(Variable()))
    alive = []
    for _ in range(200):
        model = models()
        alive.append(id(model))
        del model
    gc.collect()
    assert len(set(alive)) < len(alive)  # addresses were used again, so nothing kept the models


def test_models_that_cannot_be_referred_to_weakly_are_known_as_well():
    model = (1, "a tuple has no weak references")
    models = FreshModels(lambda: model)
    models()
    with pytest.raises(LeakError):
        models()


def test_keras_models_share_no_trained_layer_between_folds():
    import keras

    shared = keras.layers.Dense(3)

    def new_head() -> keras.Model:
        return keras.Sequential([keras.Input((4,)), shared, keras.layers.Dense(2)])

    models = FreshModels(new_head)
    models()
    with pytest.raises(LeakError, match="2 variables"):
        models()
    shared.trainable = False
    frozen = FreshModels(new_head)
    frozen(), frozen()
