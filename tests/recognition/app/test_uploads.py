"""What is uploaded to the app is deleted when it is old, however many upload meanwhile."""

import os
import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path

import pytest

from casme_tf.recognition.app.app import delete_old

pytest.importorskip("gradio")

KEPT = 1.2  # s
UPLOADING = 4.0  # s, in which they are looked at three times


def upload(address: str, content: bytes) -> None:
    body = (
        b'--edge\r\nContent-Disposition: form-data; name="files"; filename="face.jpg"\r\n\r\n'
        + content
        + b"\r\n--edge--\r\n"
    )
    headers = {"Content-Type": "multipart/form-data; boundary=edge"}
    request = urllib.request.Request(f"{address}gradio_api/upload", body, headers)
    with urllib.request.urlopen(request, timeout=60) as response:
        response.read()


@pytest.mark.slow
def test_uploads_go_while_others_come(tmp_path):
    command = [sys.executable, "-m", "casme_tf", "app", "--port", "0", "--runs", str(tmp_path)]
    command += ["--keep-minutes", str(KEPT / 60)]
    environment = os.environ | {"TMPDIR": str(tmp_path)}
    app = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    try:
        address = app.stdout.readline().split()[0]
        ends = time.monotonic() + UPLOADING
        sent = []

        def client(number: int) -> None:
            while time.monotonic() < ends:
                upload(address, f"{number} {len(sent)}".encode())
                sent.append(number)

        clients = [threading.Thread(target=client, args=(i,)) for i in range(4)]
        for thread in clients:
            thread.start()
        for thread in clients:
            thread.join()
        assert set(sent) == {0, 1, 2, 3}
        upload(address, b"the last one")
        assert faces(tmp_path)
        patience = time.monotonic() + 30
        while faces(tmp_path) and time.monotonic() < patience:
            time.sleep(0.1)
        assert not faces(tmp_path)
    finally:
        app.terminate()
        app.wait(timeout=60)
    assert not list(tmp_path.iterdir())


def faces(folder: Path) -> list[Path]:
    return list(folder.glob("*/uploads/*/face.jpg"))


def test_only_what_is_old_is_deleted(tmp_path):
    old, new = tmp_path / "a" / "old.jpg", tmp_path / "b" / "new.jpg"
    for path in (old, new):
        path.parent.mkdir()
    old.touch()
    time.sleep(0.4)
    new.touch()
    os.utime(new, (0, 0))  # as a copy of an old file
    delete_old(tmp_path, 0.3)
    assert not old.exists()
    assert new.exists()
    delete_old(tmp_path / "missing", 0)
