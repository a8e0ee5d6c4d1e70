"""The app in a real browser: questions asked, answers and messages shown, nothing loaded."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest
from support.browser import CHROMIUM, FLAGS
from support.clip_files import write_video

from casme_tf.cli.main import main
from casme_tf.clips.frames import FolderFrames, MemoryFrames, read_rgb
from casme_tf.clips.video import open_frames
from casme_tf.errors import UserError
from casme_tf.recognition.app.answers import ShortFrames
from casme_tf.recognition.app.app import Limits, serve_app
from casme_tf.recognition.recognizer import Recognizer

WAIT = 90_000  # ms, on a busy machine

pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="did not run: there is no chromium on this machine"
)

CALLED: list[str] = []
"""Hosts that this process has connected to."""


def note_host(event: str, arguments: tuple) -> None:
    if event == "socket.connect" and isinstance(arguments[1], tuple):
        CALLED.append(str(arguments[1][0]))
    elif event == "socket.getaddrinfo":
        CALLED.append(str(arguments[0]))


@pytest.fixture(scope="module")
def address(run) -> Iterator[str]:
    sys.addaudithook(note_host)  # stays, and costs next to nothing
    limits = Limits(max_megabytes=12, max_frames=100)
    with serve_app(runs=run.parent, port=0, limits=limits) as found:
        yield found
    assert not Path(os.environ["GRADIO_TEMP_DIR"]).parent.exists()


@pytest.fixture(scope="module")
def browser(folder, tmp_path_factory) -> Iterator[object]:
    """A browser whose camera films a clip, again and again."""
    sync_playwright = pytest.importorskip("playwright.sync_api").sync_playwright
    filmed = tmp_path_factory.mktemp("camera") / "camera.mjpeg"
    quiet, *moving = [(folder / f"{name}.jpg").read_bytes() for name in names_of(folder)]
    filmed.write_bytes(b"".join([*[quiet] * 20, *moving]))
    camera = ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
    camera += [f"--use-file-for-fake-video-capture={filmed}"]
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=CHROMIUM, args=[*FLAGS, *camera])
        yield opened
        opened.close()


@pytest.fixture
def page(browser, address) -> Iterator[object]:
    shown = browser.new_page(viewport={"width": 1280, "height": 720}, color_scheme="dark")
    requests: list[str] = []
    errors: list[str] = []
    shown.on("request", lambda request: requests.append(request.url))
    shown.on("pageerror", lambda error: errors.append(str(error)))
    shown.goto(address)
    shown.get_by_text("No prediction yet").wait_for(timeout=WAIT)
    yield shown
    hosts = {urlsplit(url).hostname for url in requests if not url.startswith(("data:", "blob:"))}
    shown.close()
    assert hosts == {"127.0.0.1"}
    assert errors == []


@pytest.fixture(scope="module")
def folder(corpus) -> Path:
    return sorted((corpus / "CASME2-RAW").glob("sub*/*"))[2]


@pytest.fixture(scope="module")
def frames(folder) -> list[np.ndarray]:
    return [frame.rgb for frame in FolderFrames(folder).between()]


def is_upload(response) -> bool:
    return urlsplit(response.url).path.endswith("/upload")


def give(page, place: str, *files: Path) -> None:
    """Choose files for a field, and wait until they have been sent."""
    with page.expect_response(is_upload, timeout=WAIT):
        page.locator(f"#{place} input[type=file]").set_input_files([str(file) for file in files])


def choose(page, model: str) -> None:
    page.get_by_label("Model").click()
    page.get_by_role("option", name=model).click()


def press(page, button: str) -> None:
    page.get_by_role("button", name=button, exact=True).locator("visible=true").click()


def told(page) -> dict[str, float]:
    """Return the probabilities that the page shows."""
    page.locator(".bars, .problem").wait_for(timeout=WAIT)
    assert not page.locator(".problem").is_visible(), problem(page)
    rows = page.locator(".bars tr").all_inner_texts()
    return {name: float(value) for name, value in (row.split() for row in rows)}


def problem(page) -> str:
    page.locator(".problem").wait_for(timeout=WAIT)
    return page.locator(".problem").inner_text()


def figure_size(page) -> list[int]:
    page.locator("#figure img").wait_for(timeout=WAIT)
    return page.evaluate(
        "document.querySelector('#figure img').decode().then(() => {"
        " const i = document.querySelector('#figure img');"
        " return [i.naturalWidth, i.naturalHeight]; })"
    )


def test_a_pair_is_answered_and_drawn(page, folder):
    onset, apex = (folder / f"{name}.jpg" for name in names_of(folder)[:3:2])
    give(page, "onset", onset)
    give(page, "apex", apex)
    press(page, "Answer")
    with Recognizer() as ask:
        answer = ask.pair(read_rgb(onset), read_rgb(apex))
    assert told(page) == {name: round(p, 2) for name, p in answer.probabilities.items()}
    assert page.locator(".outcome h2").inner_text() == (answer.label or "none that is clear")
    acting = [f"AU{unit.number}" for unit in answer.action_units if unit.probability >= 0.5]
    assert page.locator(".units strong").all_inner_texts() == acting
    width, height = figure_size(page)
    assert width == 1080
    assert height > 500


def test_a_clip_is_answered_by_the_run_that_is_chosen(page, run, frames, tmp_path):
    video = write_video(tmp_path / "clip.avi", frames, "MJPG", 25)
    choose(page, f"run: {run.name}")
    page.get_by_role("tab", name="Clip").click()
    give(page, "clip", video)
    press(page, "Answer")
    with Recognizer(run / "model_float32.tflite") as ask:
        answer = ask.clip(open_frames(video))
    assert told(page) == {name: round(p, 2) for name, p in answer.probabilities.items()}
    assert f"apex frame {answer.numbers['apex']}, " in page.locator(".outcome").inner_text()
    assert page.locator(".doubts li").all_inner_texts() == list(answer.doubts)
    assert any("clip is slow" in doubt for doubt in answer.doubts)
    assert figure_size(page)[0] == 1080


def test_images_are_a_clip_too(page, run, folder):
    choose(page, f"run: {run.name}")
    page.get_by_role("tab", name="Clip").click()
    give(page, "clip", *(folder / f"{name}.jpg" for name in names_of(folder)))
    page.get_by_role("button", name="What is known of it").click()
    page.get_by_label("Frames/s").fill("200")
    last = names_of(folder)[-1].removeprefix("img")
    page.get_by_label("Apex frame").fill(last)
    press(page, "Answer")
    told(page)
    assert f"apex frame {last}, " in page.locator(".outcome").inner_text()


def test_a_recording_of_the_camera_is_answered(page, run):
    choose(page, f"run: {run.name}")
    page.get_by_role("tab", name="Camera").click()
    page.get_by_text("Click to Access Webcam").click()
    page.get_by_role("button", name="start recording").click()
    page.wait_for_timeout(1500)
    with page.expect_response(is_upload, timeout=WAIT):
        page.get_by_text("Stop", exact=True).click()
    page.locator("#recording video[src]").first.wait_for(timeout=WAIT)
    press(page, "Answer")
    told(page)
    doubts = page.locator(".doubts").inner_text()
    assert "clip is slow" in doubts
    assert "/" not in doubts.replace("1/25", "")  # where an upload is kept is nobody's business


@pytest.mark.parametrize("tab", ["Two frames", "Clip"])
def test_an_example_is_one_click_away(page, tab):
    page.get_by_role("tab", name=tab).click()
    press(page, "Drawn example")
    assert sum(told(page).values()) == pytest.approx(1, abs=0.03)
    figure_size(page)
    assert "Stand-in, drawn: sub" in page.locator(".hint >> visible=true").last.inner_text()


def test_wrong_files_are_told_as_their_owner_calls_them(page, address, frames, tmp_path):
    press(page, "Answer")
    assert "Missing: the onset and the apex" in problem(page)
    text = tmp_path / "notes.jpg"
    text.write_text("no image")
    give(page, "onset", text)
    give(page, "apex", text)
    press(page, "Answer")
    page.get_by_text("Received: notes.jpg, which is none").wait_for(timeout=WAIT)
    page.get_by_role("tab", name="Clip").click()
    give(page, "clip", text.rename(tmp_path / "notes.mp4"))
    press(page, "Answer")
    page.get_by_text("Received: notes.mp4 (8 bytes)").wait_for(timeout=WAIT)
    assert "/" not in problem(page)
    assert not page.locator("#figure").is_visible()


def test_what_is_too_large_is_told_while_it_is_sent(page, tmp_path):
    page.get_by_role("tab", name="Clip").click()
    large = tmp_path / "large.mp4"
    with large.open("wb") as file:
        file.truncate(13 << 20)
    page.locator("#clip input[type=file]").set_input_files(str(large))
    page.get_by_text("maximum", exact=False).wait_for(timeout=WAIT)


@pytest.mark.parametrize("counted", [True, False])
def test_what_is_too_long_is_told(counted, frames):
    long = MemoryFrames(frames[:1] * 12, 200)
    long.count = 12 if counted else None
    with pytest.raises(UserError, match="at most 10 frames here"):
        list(ShortFrames(long, 10, "the clip").between())


@pytest.mark.parametrize("place", ["http://192.0.2.1/face.jpg", "https://huggingface.co/a.jpg"])
def test_a_file_elsewhere_is_not_fetched(address, page, place):
    asked = {"data": ["four", *[{"path": place, "meta": {"_type": "gradio.FileData"}}] * 2, False]}
    sent = page.request.post(f"{address}gradio_api/call/pair", data=asked)
    answer = page.request.get(f"{address}gradio_api/call/pair/{sent.json()['event_id']}").text()
    assert "event: error" in answer
    assert urlsplit(place).hostname not in CALLED


def test_files_that_were_not_uploaded_are_not_read(address, page, folder):
    path = str(folder / f"{names_of(folder)[0]}.jpg")
    frame = {"path": path, "meta": {"_type": "gradio.FileData"}}
    sent = page.request.post(
        f"{address}gradio_api/call/pair", data={"data": ["four", frame, frame, False]}
    )
    answer = page.request.get(f"{address}gradio_api/call/pair/{sent.json()['event_id']}").text()
    assert "event: error" in answer


def test_nobody_else_is_asked(address, page):
    """After all that was asked above: neither the page nor the process has called anybody."""
    policy = page.request.get(address).headers["content-security-policy"]
    assert policy.startswith("default-src 'self' blob: data:;")
    asked = page.evaluate("fetch('http://192.0.2.1/').then(() => 'sent', () => 'refused')")
    assert asked == "refused"
    assert set(CALLED) <= {"127.0.0.1", "localhost", "::1", "None"}


def test_a_taken_port_is_told(address):
    taken = urlsplit(address).port
    with pytest.raises(UserError, match="port must be free"), serve_app(port=taken):
        pass


def test_without_gradio_it_says_what_to_install():
    code = (
        "import sys\n"
        "sys.modules['gradio'] = None\n"
        "from casme_tf.cli.main import main\n"
        "sys.exit(main('app', []))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.endswith("pip install 'casme-tf[app]'")


@pytest.mark.parametrize(
    "flags", [["--port", "-1"], ["--max-frames", "1"], ["--keep-minutes", "0"], ["--queue", "0"]]
)
def test_options_out_of_range_are_told(flags, capsys):
    assert main("app", flags) == 1
    assert f"{flags[0]} must be" in capsys.readouterr().err


def names_of(folder: Path) -> list[str]:
    return [path.stem for path in sorted(folder.glob("img*.jpg"), key=lambda p: int(p.stem[3:]))]
