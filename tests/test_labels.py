import dataclasses
import pickle

import numpy as np
import pytest

from casme_tf.errors import UserError
from casme_tf.labels import ALL_EMOTIONS, CLASSES, EMOTIONS, OBJECTIVE, SCHEMES, class_of

# The sheet of 255 rows.
SHEET = {"others": 99, "disgust": 63, "happiness": 32, "repression": 27, "surprise": 25}
SHEET |= {"sadness": 7, "fear": 2}


def counts(name: str) -> dict[str, int]:
    emotions = [emotion for emotion, clips in SHEET.items() for _ in range(clips)]
    kept, labels = SCHEMES[name].select(emotions)
    assert len(kept) == len(labels)
    found = np.bincount(labels, minlength=len(SCHEMES[name].classes))
    return dict(zip(SCHEMES[name].classes, found.tolist(), strict=True))


def test_the_default_scheme_keeps_all_clips_in_four_classes():
    assert CLASSES == SCHEMES["four"].classes == ("negative", "other", "positive", "surprise")
    assert counts("four") == {"negative": 99, "other": 99, "positive": 32, "surprise": 25}
    assert {emotion: class_of(emotion) for emotion in EMOTIONS} == {
        "disgust": "negative",
        "fear": "negative",
        "happiness": "positive",
        "others": "other",
        "repression": "negative",
        "sadness": "negative",
        "surprise": "surprise",
    }


def test_the_challenge_leaves_out_others_fear_and_sadness():
    assert counts("megc3") == {"negative": 90, "positive": 32, "surprise": 25}
    left_out = [e for e in EMOTIONS if SCHEMES["megc3"].class_of(e) is None]
    assert left_out == ["fear", "others", "sadness"]


def test_the_five_classes_are_emotions():
    assert counts("five") == {k: SHEET[k] for k in SCHEMES["five"].classes}
    assert sum(counts("five").values()) == 246


@pytest.mark.parametrize("scheme", SCHEMES.values(), ids=SCHEMES)
def test_classes_are_in_alphabetical_order_as_label_encoders_have_them(scheme):
    assert list(scheme.classes) == sorted(scheme.classes)
    assert SCHEMES[scheme.name] is scheme


def test_selection_keeps_the_order_of_the_clips():
    kept, labels = SCHEMES["megc3"].select(np.array(["fear", "surprise", "others", "disgust"]))
    assert kept.tolist() == [1, 3]
    assert labels.tolist() == [2, 0]
    nothing, _ = SCHEMES["five"].select(["fear"])
    assert nothing.tolist() == []
    assert nothing.dtype.kind == "i"


def test_an_unknown_emotion_is_refused_not_left_out():
    for call in (class_of, SCHEMES["megc3"].class_of, lambda e: SCHEMES["five"].select([e])):
        with pytest.raises(UserError, match="Received: 'joy'"):
            call("joy")


def test_a_scheme_cannot_be_changed_and_travels_between_processes():
    scheme = SCHEMES["megc3"]
    with pytest.raises(dataclasses.FrozenInstanceError):
        scheme.classes = ()
    assert pickle.loads(pickle.dumps(scheme)) == scheme


@pytest.mark.parametrize("scheme", SCHEMES.values(), ids=SCHEMES)
def test_each_emotion_is_in_one_class_at_most(scheme):
    for rule in (scheme.emotions, *scheme.exceptions.values()):
        members = [emotion for group in rule.values() for emotion in group]
        assert all(rule.values())
        assert len(set(members)) == len(members)
        assert set(members) <= set(ALL_EMOTIONS if scheme.column == "emotion" else OBJECTIVE)
