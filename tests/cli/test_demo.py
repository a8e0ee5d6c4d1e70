"""The demo: its stages by the real commands, on a small corpus, and what it says."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from support.tracing import can_trace, reached, trace_to, traced_only

from casme_tf.cli import demo
from casme_tf.cli.demo import RUN, DemoConfig, run
from casme_tf.errors import UserError
from casme_tf.runs import ARTIFACTS

TRACE = "trace.txt"


# The fewest clips that give every part every class, and the smallest frames a model takes.
SMALL = """
import sys
from pathlib import Path
from casme_tf.cli import demo
from casme_tf.cli.demo import DemoConfig
demo._SUBJECTS, demo._CLIPS, demo._FRAMES = 8, 24, 4
stages = demo._stages
demo._stages = lambda *given: [
    (title, [*command, "--frame-size", 64] if "--data-dir" in command else command)
    for title, command in stages(*given)
]
demo.run(DemoConfig(Path(sys.argv[1]), Path(sys.argv[2]), seed=7))
"""


@pytest.fixture(scope="session")
def shown(shared) -> tuple[str, DemoConfig]:
    """What the demo prints for a few subjects, and where it put things."""

    def fill(folder: Path) -> None:
        folder.mkdir()
        (folder / "small_demo.py").write_text(SMALL)
        words = [sys.executable, folder / "small_demo.py", folder / "a demo", folder / "runs"]
        tracer = trace_to(folder / TRACE) if can_trace() else []
        done = subprocess.run([*tracer, *words], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[-3000:]
        assert "\r" not in done.stderr  # bars are for terminals
        (folder / "printed.txt").write_text(done.stdout)

    folder = shared("demo", fill)
    return (folder / "printed.txt").read_text(), DemoConfig(folder / "a demo", folder / "runs", 7)


def test_each_stage_says_its_command_and_its_time(shown):
    printed, _ = shown
    assert "The demo takes " in printed.splitlines()[0]
    commands = re.findall(r"^\$ (.+)$", printed, re.MULTILINE)
    verbs = [shlex.split(line)[1] for line in commands]
    assert verbs == [
        *("synthesize", "prepare-dataset", "build", "train", "evaluate", "crossval", "export"),
        *("predict", "predict", "report", "evaluate", "train"),
    ]
    assert len(re.findall(r"^── \d+ s$", printed, re.MULTILINE)) == len(commands) - 1
    for line in commands[:4]:  # paths with a blank can be pasted
        assert any("a demo" in word for word in shlex.split(line))


def test_it_ends_with_the_table_and_the_run(shown):
    printed, config = shown
    run = config.runs / RUN
    table = printed.split("figures, and points above model.keras")[1]
    assert "model.keras" in table
    assert f"The run: {run}" in printed
    assert "Drawn stand-in data" in printed
    for name in (*ARTIFACTS[:3], "report.html", "metrics.json", "model_card.md"):
        assert (run / name).exists(), name
    assert (config.data / "answer.png").exists()


@traced_only
def test_none_of_its_commands_reaches_beyond_this_machine(shown):
    assert reached(shown[1].data.with_name(TRACE)) == []


def test_another_folder_is_left_alone(tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(UserError, match="holds other things"):
        run(DemoConfig(data=tmp_path, runs=tmp_path / "runs"))
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_a_stage_that_fails_ends_it(tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(demo, "_SUBJECTS", 0)
    with pytest.raises(UserError, match=r"Received: status 1.*draw a stand-in"):
        run(DemoConfig(data=tmp_path / "demo", runs=tmp_path / "runs"))
    assert "error: " in capfd.readouterr().err
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("seed", [-1, 2**31])
def test_a_seed_that_cannot_be_is_refused(tmp_path, seed):
    with pytest.raises(UserError, match="--seed must be from 0"):
        run(DemoConfig(data=tmp_path / "demo", runs=tmp_path / "runs", seed=seed))
    assert not Path(tmp_path / "demo").exists()
