import keras
import pytest

from casme_tf.training import keras_learner
from casme_tf.training.keras_learner import choose_precision, dtype_policy


@pytest.mark.parametrize(
    ("flags", "size", "chosen"),
    [
        ("fpu avx2 avx512_bf16 sse", 224, "mixed_bfloat16"),
        ("fpu amx_bf16", 96, "mixed_bfloat16"),
        ("fpu avx512_bf16", 64, "float32"),
        ("fpu avx2 avx512f", 224, "float32"),
    ],
)
def test_the_processor_decides(flags, size, chosen, monkeypatch, tmp_path):
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text(f"model name\t: any\nflags\t\t: {flags}\n")
    monkeypatch.setattr(keras_learner, "_CPUINFO", cpuinfo)
    assert choose_precision(size) == chosen


def test_where_nothing_is_known_of_the_processor_it_is_float32(monkeypatch, tmp_path):
    monkeypatch.setattr(keras_learner, "_CPUINFO", tmp_path / "nothing")
    assert choose_precision(224) == "float32"


def test_the_policy_ends_with_the_block():
    seen = []
    with pytest.raises(KeyError), dtype_policy("mixed_bfloat16"):
        raise KeyError(seen.append(keras.layers.Dense(1).compute_dtype))
    assert seen == ["bfloat16"]
    assert keras.layers.Dense(1).compute_dtype == "float32"
