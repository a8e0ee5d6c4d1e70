"""The command line itself: its help, its version, and readers that stop early."""

import os
import re
import subprocess
import sys
from importlib.metadata import version

import pytest

from casme_tf.cli.main import VERBS, main
from casme_tf.models import ARCHITECTURES


def help_of(verb: str, capsys) -> str:
    with pytest.raises(SystemExit, match="0"):
        main(None, [verb, "--help"])
    lines = capsys.readouterr().out.splitlines()
    return " ".join(" ".join(line.strip("│ ") for line in lines).split())


def test_version(capsys):
    assert main(None, ["--version"]) == 0
    assert capsys.readouterr().out == f"casme-tf {version('casme-tf')}\n"


@pytest.mark.parametrize("verb", VERBS)
def test_help_shows_options_as_people_write_them(verb, capsys):
    text = help_of(verb, capsys)
    for word in ("None", "default: False", "default: True", "default: )"):
        assert word not in text


def test_help_breaks_lines_where_the_terminal_does(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit, match="0"):
        main(None, ["predict", "--help"])
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "such as 0, which" in line]
    assert "such as 0, which is recorded now" in line  # the source has a break after "is"


def test_switches_say_what_they_do(capsys):
    text = help_of("train", capsys)
    assert "--no-augment Train on the clips as they are" in text


@pytest.mark.parametrize("verb", ["train", "crossval"])
def test_defaults_of_architectures_are_in_the_help(verb, capsys):
    text = help_of(verb, capsys)
    for field in ("epochs", "batch_size", "learning_rate", "dropout"):
        option = "--" + field.replace("_", "-")
        (shown,) = re.findall(rf"{option} (?:INT|FLOAT) .*? Default: (.*?)\.(?: |$)", text)
        for name, architecture in ARCHITECTURES.items():
            fits = [
                fit for key, fit in architecture.fits.items() if key != "trained" and fit.recipe
            ]
            for fit in fits:
                value = re.escape(f"{getattr(fit.recipe, field):g}")
                pattern = rf"{name}( and \w+)? {value}\b|^{value}(;|$)"
                assert re.search(pattern, shown), (field, name, shown)


@pytest.mark.parametrize(("of_user", "used"), [(None, "1"), ("0", "0")])
def test_onednn_is_used_unless_the_user_forbids_it(of_user, used, monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("TF_ENABLE_ONEDNN_OPTS", "0")
    if of_user is None:
        monkeypatch.delenv("TF_ENABLE_ONEDNN_OPTS")
    assert main("report", ["--run", "missing", "--runs", str(tmp_path)]) == 1
    assert os.environ["TF_ENABLE_ONEDNN_OPTS"] == used


def test_a_reader_that_has_enough_is_no_mistake():
    command = f"{sys.executable} -m casme_tf predict --help | head -1"
    done = subprocess.run(
        ["bash", "-c", f"{command}; echo ${{PIPESTATUS[0]}}"],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
    )
    assert done.stdout.endswith("\n0\n")
    assert not done.stderr


def test_a_closed_pipe_while_answers_are_printed(monkeypatch, tmp_path):
    code = (
        "import sys\n"
        "from casme_tf.cli import synthesize\n"
        "def run(options: synthesize.SynthesizeConfig):\n"
        "    for _ in range(5000): print('x' * 100)\n"
        "synthesize.run = run\n"
        "from casme_tf.cli.main import main\n"
        "sys.exit(main(None, ['synthesize', '--out', 'corpus']))"
    )
    script = tmp_path / "many_lines.py"
    script.write_text(code)
    done = subprocess.run(
        ["bash", "-c", f"{sys.executable} {script} | head -1; echo ${{PIPESTATUS[0]}}"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == ["x" * 100, "0"]
    assert not done.stderr
