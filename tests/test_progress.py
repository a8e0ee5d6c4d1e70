"""Progress: a bar on a terminal, a line now and then in a file."""

import fcntl
import io
import os
import pty
import select
import struct
import termios

from casme_tf.progress import progress


def test_a_file_gets_lines(monkeypatch):
    file = io.StringIO()
    for _ in progress(range(500), desc="motion", unit="batch", file=file):
        pass
    list(progress(range(3), desc="second", unit="clip", file=file))
    lines = file.getvalue().splitlines()
    assert lines == [
        "motion: 0/500 batch in 00:00",
        "motion: 500/500 batch in 00:00",
        "second: 0/3 clip in 00:00",
        "second: 3/3 clip in 00:00",
    ]
    assert "\r" not in file.getvalue()


def test_lines_come_now_and_then(monkeypatch):
    file, now = io.StringIO(), [0.0]
    monkeypatch.setattr("tqdm.std.time", lambda: now[0])
    with progress(total=100, desc="training", unit="epoch", file=file) as bar:
        bar._time = lambda: now[0]
        for epoch in range(100):
            now[0] += 1
            bar.set_postfix({"val_loss": f"{epoch:.1f}"}, refresh=False)
            bar.update()
    assert 4 <= len(file.getvalue().splitlines()) <= 6


def test_a_terminal_gets_a_bar():
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    with os.fdopen(slave, "w") as terminal:
        list(progress(range(3), desc="motion", unit="batch", file=terminal))
        terminal.flush()
        shown = ""
        while select.select([master], [], [], 1)[0]:
            shown += os.read(master, 10_000).decode()
    assert "\r" in shown
    assert "100%|" in shown
