"""Nothing leaves the machine: commands under a tracer that sees what native code does too.

`cli/test_demo.py` traces the commands of the demo: synthesize, prepare-dataset, tfds build, train,
evaluate, crossval, export, predict and report.
"""

import os
import re
import urllib.request
from pathlib import Path

import psutil
import pytest
from support.tracing import reached, traced, traced_only

from casme_tf.clips.mediapipe_face import network_shut


def require_silent(folder: Path, *command: object, known: str = "") -> None:
    log = folder / "trace.txt"
    traced(log, *command)
    assert set(reached(log)) <= {known}, f"{command[:2]} reached beyond this machine"


@traced_only
def test_the_tracer_sees_what_is_sent(tmp_path):
    """A socket connected to an address that is reserved for documentation; nothing is sent."""
    code = (
        "import socket\n"
        "socket.socket(socket.AF_INET, socket.SOCK_DGRAM).connect(('198.51.100.7', 443))\n"
    )
    log = tmp_path / "trace.txt"
    traced(log, "python", "-c", code)
    assert reached(log) == ["198.51.100.7:443"]


@pytest.mark.slow
@traced_only
def test_preparing_with_mediapipe(tmp_path, corpus):
    require_silent(
        tmp_path,
        *("casme-tf", "prepare-dataset", "--raw", corpus / "CASME2-RAW", "--out", "prepared"),
        *("--coding", corpus / "CASME2-coding-stand-in.xlsx", "--face-detector", "mediapipe"),
    )


@pytest.mark.slow
@traced_only
def test_cross_validation_by_ray(tmp_path, data_dir):
    pytest.importorskip("ray")
    crossval = ("casme-tf", "crossval", "--protocol", "kfold", "--folds", 2, "--frame-size", 64)
    given = ("--runs", "runs", "--data-dir", data_dir, "--engine", "ray", "--workers", 1)
    # To learn its own address, Ray connects a datagram socket, through which nothing is sent.
    asked = "8.8.8.8:53"
    require_silent(tmp_path, *crossval, "--arch", "majority", "--no-baselines", *given, known=asked)


@traced_only
def test_answers(tmp_path, corpus):
    clip = next((corpus / "CASME2-RAW").glob("sub*/*"))
    by_reference = ("--face-detector", "mediapipe")
    predict = ("casme-tf", "predict", "--clip", clip, "--fps", 200, "--figure", "answer.png")
    require_silent(tmp_path, *predict, *by_reference)
    require_silent(tmp_path, "casme-tf", "spot-apex", clip, "--fps", 200)
    require_silent(tmp_path, "casme-tf", "stream", clip, "--fps", 200)


@traced_only
@pytest.mark.parametrize("runtime", ["mediapipe"])
def test_app(tmp_path, runtime):
    pytest.importorskip("gradio")
    log = tmp_path / "trace.txt"
    command = ("casme-tf", "app", "--port", 0, "--face-detector", runtime)
    started = traced(log, *command, check=False)
    try:
        address = next(
            found.group()
            for line in started.stdout
            if (found := re.search(r"http://127\.0\.0\.1:\d+", line))
        )
        with urllib.request.urlopen(address, timeout=60) as page:
            assert page.status == 200
    finally:
        for child in psutil.Process(started.pid).children():
            child.terminate()  # an interrupt would be ignored by what a background started
        started.communicate(timeout=60)
    assert reached(log) == []


def test_network_is_shut_until_the_last_detector_is_closed(monkeypatch):
    monkeypatch.setenv("https_proxy", "http://proxy.example:3128")
    monkeypatch.delenv("no_proxy", raising=False)
    first, second = network_shut(), network_shut()
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert os.environ["https_proxy"] == "http://127.0.0.1:9"
    second.__exit__(None, None, None)
    assert os.environ["https_proxy"] == "http://proxy.example:3128"
    assert "no_proxy" not in os.environ
