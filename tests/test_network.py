"""Nothing leaves the machine: commands under a tracer that sees what native code does too.

`test_demo.py` traces the commands of the demo: synthesize, prepare-dataset, tfds build, train,
evaluate, crossval, export, predict and report.
"""

import ipaddress
import os
import re
import shutil
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import psutil
import pytest

from casme_tf.network import network_shut

STRACE = shutil.which("strace")
CALLS = "connect,sendto,sendmsg,sendmmsg"
# As strace writes an address: sin_port=htons(53), sin_addr=inet_addr("10.0.0.2"), and of IPv6.
ADDRESS = re.compile(
    r"sin6?_port=htons\((\d+)\).*?"
    r"(?:inet_addr\(|inet_pton\(AF_INET6, )\"([^\"]+)\""
)
NAME_LOOKUP = 53


def can_trace() -> bool:
    if STRACE is None:
        return False
    tried = subprocess.run([STRACE, "-f", "-o", os.devnull, "true"], capture_output=True)
    return tried.returncode == 0


traced_only = pytest.mark.skipif(
    not can_trace(), reason="did not run: strace is missing, or may not trace here"
)


def own_addresses() -> set[str]:
    return {each.address for card in psutil.net_if_addrs().values() for each in card}


def reached(log: Path) -> list[str]:
    """Return what was tried beyond this machine: addresses, and name look-ups at any address."""
    own, found = own_addresses(), []
    for line in log.read_text(errors="replace").splitlines():
        for port, written in ADDRESS.findall(line):
            address = ipaddress.ip_address(written)
            address = getattr(address, "ipv4_mapped", None) or address
            here = address.is_loopback or str(address) in own
            if not here or int(port) == NAME_LOOKUP:
                found.append(f"{address}:{port}")
    return found


def trace_to(log: Path) -> list[str]:
    """Return what goes before a command to have its calls written down."""
    return [str(STRACE), "-f", "--seccomp-bpf", "-qq", "-e", f"trace={CALLS}", "-o", str(log)]


def traced(log: Path, *command: object, check: bool = True) -> subprocess.Popen:
    """Start a command of this environment under the tracer, in the log's folder."""
    name, *rest = map(str, command)
    program = Path(sys.executable).with_name(name)
    started = subprocess.Popen(
        [*trace_to(log), str(program), *rest],
        cwd=log.parent,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if check:
        said, _ = started.communicate()
        assert started.returncode == 0, said
    return started


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
            child.send_signal(signal.SIGINT)
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
