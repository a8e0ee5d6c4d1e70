"""The exported page in a real browser: answers as in Python, messages, nothing from elsewhere."""

import base64
import functools
import io
import json
import os
import shutil
import threading
import urllib.error
from collections.abc import Callable, Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import cv2
import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import sync_playwright
from support.browser import CHROMIUM, FLAGS
from support.clip_files import write_video
from support.drawn_clip import drawn_clip

from casme_tf.cli.main import main
from casme_tf.clips.frames import resize
from casme_tf.errors import UserError
from casme_tf.export import web_page
from casme_tf.export.web_page import export_web
from casme_tf.recognition.recognizer import Recognizer

WAIT = 90_000  # ms, on a busy machine
CAMERA = ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
PHONE = {"width": 390, "height": 844}

in_browser = pytest.mark.skipif(
    CHROMIUM is None, reason="did not run: there is no chromium on this machine"
)

# The next answer of the page, or the problem that it shows in place of one.
LISTEN = """() => {
  window.outcome = new Promise((resolve) => {
    document.addEventListener("answer", ({ detail }) => resolve(detail), { once: true });
    const problem = document.getElementById("problem");
    new MutationObserver(() => { if (!problem.hidden) resolve({ problem: problem.textContent }); })
      .observe(problem, { attributes: true, childList: true });
  });
}"""


@pytest.fixture(scope="session")
def web(shared) -> Path:
    """A folder with the `page` of the shipped recognizer, and the `cache` of LiteRT.js."""

    def make(folder: Path) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
            export_web(out=folder / "page")

    return shared("web", make)


@pytest.fixture
def litert(web) -> Path:
    return web / "cache" / "casme_tf"


@pytest.fixture(scope="module")
def address(web) -> Iterator[str]:
    with served(web / "page") as found:
        yield found


class served:
    """Serves a folder as `python -m http.server` does."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    def __init__(self, folder: Path) -> None:
        self.server = ThreadingHTTPServer(
            ("127.0.0.1", 0), functools.partial(self.Quiet, directory=str(folder))
        )

    def __enter__(self) -> str:
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{self.server.server_port}/"

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture(scope="module")
def playwright() -> Iterator[object]:
    with sync_playwright() as opened:
        yield opened


@pytest.fixture(scope="module")
def browser(playwright, tmp_path_factory) -> Iterator[object]:
    """A browser whose camera films a drawn clip, again and again."""
    frames, _ = drawn_clip()
    filmed = tmp_path_factory.mktemp("camera") / "camera.mjpeg"
    shown = [frames[0]] * 20 + list(frames) + [frames[-1]] * 5
    filmed.write_bytes(b"".join(encoded(frame, ".jpg") for frame in shown))
    camera = [*CAMERA, f"--use-file-for-fake-video-capture={filmed}"]
    opened = playwright.chromium.launch(executable_path=CHROMIUM, args=[*FLAGS, *camera])
    yield opened
    opened.close()


@pytest.fixture
def page(browser, address) -> Iterator[object]:
    """The page, on a phone's screen."""
    shown = browser.new_page(viewport=PHONE)
    requests, errors = opened(shown, address)
    yield shown
    hosts = {urlsplit(url).netloc for url in requests if not url.startswith(("data:", "blob:"))}
    shown.close()
    assert hosts == {urlsplit(address).netloc}
    assert errors == []


def opened(page, address) -> tuple[list[str], list[str]]:
    requests: list[str] = []
    errors: list[str] = []
    page.context.on("request", lambda request: requests.append(request.url))
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda line: errors.append(line.text) if line.type == "error" else None)
    page.goto(address)
    page.locator("#status:text('Ready.'), #problem:visible").wait_for(timeout=WAIT)
    return requests, errors


def encoded(frame: np.ndarray, suffix: str = ".png") -> bytes:
    return cv2.imencode(suffix, frame[..., ::-1])[1].tobytes()


def outcome(page, ask: Callable[[], object]) -> dict:
    """Do something on the page, and return the answer or the problem that comes of it."""
    page.evaluate(LISTEN)
    ask()
    late = f"new Promise((resolve) => setTimeout(resolve, {WAIT}, {{ problem: 'nothing' }}))"
    return page.evaluate(f"() => Promise.race([window.outcome, {late}])")


def give(page, **pictures: bytes) -> dict:
    """Choose pictures, and return what comes of the last one."""
    for name, content in pictures.items():
        file = {"name": f"{name}.png", "mimeType": "image/png", "buffer": content}
        chooser = page.locator(f"#{name}-file")
        found = outcome(page, functools.partial(chooser.set_input_files, file))
    return found


def give_pair(page, onset: np.ndarray, apex: np.ndarray) -> dict:
    if page.get_by_alt_text("The chosen Apex frame").is_visible():
        return give(page, onset=encoded(onset), apex=encoded(apex))
    file = {"name": "onset.png", "mimeType": "image/png", "buffer": encoded(onset)}
    page.locator("#onset-file").set_input_files(file)  # nothing comes of the first one
    page.get_by_alt_text("The chosen Onset frame").wait_for(timeout=WAIT)
    return give(page, apex=encoded(apex))


def wait_until(page, expression: str) -> None:
    # The page's policy forbids the evaluation of strings, which wait_for_function needs.
    late = f"setTimeout(() => reject(new Error('not within {WAIT} ms')), {WAIT})"
    again = f"() => ({expression}) ? resolve(true) : setTimeout(look, 20)"
    page.evaluate(f"new Promise((resolve, reject) => {{ {late}; const look = {again}; look(); }})")


def choose(page, name: str) -> None:
    page.get_by_role("radio", name=name).check()


def press(page, name: str) -> None:
    page.get_by_role("button", name=name, exact=True).click()


@in_browser
def test_pairs_get_the_answers_of_python(page):
    compared = 0
    with Recognizer() as recognizer:
        for frames in (drawn_clip()[0][:9], drawn_clip(7, 0)[0], drawn_clip(7, 1)[0]):
            onset, first, *others = frames
            answers = [(first, give_pair(page, onset, first))]
            answers += [(apex, give(page, apex=encoded(apex))) for apex in others]
            compared += len(answers)
            for apex, answer in answers:
                expected = recognizer.pair(onset, apex)
                assert answer["probabilities"] == pytest.approx(expected.probabilities, abs=1e-3)
                assert answer["label"] == expected.label
                assert answer["box"] == vars(expected.box)
                assert answer["doubts"] == list(expected.doubts)
                units = {unit.number: unit.probability for unit in expected.action_units}
                found = {unit["number"]: unit["probability"] for unit in answer["action_units"]}
                assert found == pytest.approx(units, abs=1e-3)
    assert compared == 20
    assert page.locator("#label").inner_text().lower() == (expected.label or "no clear expression")
    shown = page.locator("#bars td:last-child").all_inner_texts()
    assert shown == [f"{value:.2f}" for value in expected.probabilities.values()]


@in_browser
@pytest.mark.parametrize(("width", "height"), [(258, 314), (97, 120)])
def test_crops_are_resized_as_in_python(page, width, height):
    crop = np.random.default_rng(width).integers(0, 256, (height, width, 3), np.uint8)
    opaque = np.dstack([crop, np.full((height, width), 255, np.uint8)])
    found = page.evaluate(
        """async ([data, width, height]) => {
          const { resize } = await import("./resize.js");
          const pixels = Uint8Array.from(atob(data), (c) => c.charCodeAt(0));
          const box = { x: 0, y: 0, width, height };
          return Array.from(resize({ width, height, data: pixels }, box, 224));
        }""",
        [base64.b64encode(opaque.tobytes()).decode(), width, height],
    )
    np.testing.assert_array_equal(np.reshape(found, (224, 224, 3)), resize(crop, 224))


def moved(frame: np.ndarray, right: float, down: float) -> np.ndarray:
    way = np.array([[1, 0, right], [0, 1, down]], np.float32)
    size = frame.shape[1::-1]
    return cv2.warpAffine(frame, way, size, borderMode=cv2.BORDER_REPLICATE)


def covered(frame: np.ndarray) -> np.ndarray:
    frame = frame.copy()
    frame[250:330, 260:380] = (90, 140, 200)
    return frame


def interlaced(frame: np.ndarray) -> np.ndarray:
    frame = frame.copy()
    frame[1::2] = moved(frame, 6, 0)[1::2]
    return frame


def compressed(frame: np.ndarray) -> np.ndarray:
    return cv2.imdecode(cv2.imencode(".jpg", frame, [cv2.IMWRITE_JPEG_QUALITY, 12])[1], 1)


@in_browser
def test_doubts_are_those_of_python(page):
    frames, at = drawn_clip()
    onset, apex = frames[0], frames[at]
    small = [cv2.resize(x, (240, 180), interpolation=cv2.INTER_AREA) for x in (onset, apex)]
    cases = {
        "small": small,
        "dark": [(0.15 * x).astype(np.uint8) for x in (onset, apex)],
        "overexposed": [np.clip(2.2 * x, 0, 255).astype(np.uint8) for x in (onset, apex)],
        "by more than motion": [onset, covered(apex)],
        "not found again": [onset, np.full_like(apex, 128)],
        "head moved": [onset, moved(apex, 24, 3)],
        "compressed": [compressed(onset), compressed(apex)],
        "interlaced": [onset, interlaced(apex)],
        "edge of the frame": [onset[:, 250:], apex[:, 250:]],
        "There are 2 faces": [np.hstack([x, x]) for x in (onset, apex)],
        "turned clockwise by 90°": [np.rot90(x) for x in (onset, apex)],
    }
    with Recognizer() as recognizer:
        for words, (first, second) in cases.items():
            pair = np.ascontiguousarray(first), np.ascontiguousarray(second)
            expected = list(recognizer.pair(*pair).doubts)
            assert any(words in doubt for doubt in expected)
            assert give_pair(page, *pair)["doubts"] == expected
            assert page.locator("#doubts li").all_inner_texts() == expected


# Pictures called slow.png are read once `readSlow` is called.
SLOW = """() => {
  const slow = new Promise((resolve) => { window.readSlow = resolve; });
  const read = window.createImageBitmap;
  window.createImageBitmap = async (file, options) => {
    if (file.name === "slow.png") await slow;
    return read(file, options);
  };
}"""


@in_browser
def test_a_picture_that_is_read_slowly_is_waited_for(page):
    frames, at = drawn_clip()

    def give_slow_onset(content: bytes) -> None:
        page.evaluate(SLOW)
        file = {"name": "slow.png", "mimeType": "image/png", "buffer": content}
        page.locator("#onset-file").set_input_files(file)
        file = {"name": "apex.png", "mimeType": "image/png", "buffer": encoded(frames[at])}
        page.locator("#apex-file").set_input_files(file)
        page.get_by_alt_text("The chosen Apex frame").wait_for(timeout=WAIT)
        page.evaluate("readSlow()")

    assert "slow.png" in outcome(page, lambda: give_slow_onset(b"no picture"))["problem"]
    assert "slow.png" in give(page, apex=encoded(frames[at]))["problem"]
    answer = outcome(page, lambda: give_slow_onset(encoded(frames[0])))
    assert "problem" not in answer
    choose(page, "Video")
    page.locator("#result").wait_for(state="hidden")
    assert outcome(page, lambda: choose(page, "Two pictures")) == answer


@in_browser
def test_a_clip_is_followed_and_can_be_corrected_by_hand(page, tmp_path):
    frames, apex = drawn_clip(33)
    video = write_video(tmp_path / "clip.webm", list(frames), "VP80", fps=100)
    choose(page, "Video")
    found = outcome(page, lambda: page.locator("#video-file").set_input_files(video))
    assert found["spotting"]["method"] == "flow"
    assert abs(found["frames"]["apex"] - apex) <= 1
    assert found["frames"]["onset"] <= 2
    assert found["seconds"]["apex"] == pytest.approx(found["frames"]["apex"] / 100, abs=0.001)
    assert len(frames) - 2 <= int(page.locator("#apex-at").get_attribute("max")) + 1 <= len(frames)
    assert page.evaluate("film.currentTime") == 0
    page.get_by_role("slider", name="Apex").focus()
    by_hand = outcome(page, lambda: page.keyboard.press("ArrowRight"))
    assert by_hand["frames"]["apex"] == found["frames"]["apex"] + 1
    assert by_hand["spotting"]["method"] == "given"
    page.get_by_label("Filmed at").fill("-5")
    bad = outcome(page, lambda: page.keyboard.press("Enter"))
    assert "Received: -5. Enter the speed" in bad["problem"]
    # A camera that filmed at 10 frames a second makes it slow, and its rise long.
    page.get_by_label("Filmed at").fill("10")
    slow = outcome(page, lambda: page.keyboard.press("Enter"))
    assert slow["seconds"]["apex"] == pytest.approx(slow["frames"]["apex"] / 10)
    assert any(doubt.startswith("The rise takes") for doubt in slow["doubts"])
    page.get_by_label("Filmed at").fill("")
    outcome(page, lambda: page.keyboard.press("Enter"))
    assert page.get_by_label("Filmed at").input_value() == "100"


# Follows a video with an engine that takes so many ms a frame, and reads the number in each frame.
FOLLOW = """async ([content, ms]) => {
  const { openVideo, followVideo } = await import("./frames.js");
  const bytes = Uint8Array.from(atob(content), (c) => c.charCodeAt(0));
  const video = document.body.appendChild(document.createElement("video"));
  const { signal } = new AbortController();
  const bright = ({ data, width }, bit) => data[4 * (50 * width + 50 + 100 * bit)] > 128;
  const bits = [0, 1, 2, 3, 4, 5];
  const read = (image) => bits.reduce((sum, bit) => sum + bright(image, bit) * 2 ** bit, 0);
  const engine = {
    begin: async () => ({ part: { x: 0, y: 0, width: 600, height: 100 } }),
    strip: async (image) => {
      for (const end = performance.now() + ms; performance.now() < end;);
      return read(image);
    },
    measure: async (number, seconds) => ({ number, seconds }),
  };
  await openVideo(video, new File([bytes], "clip.webm"), signal);
  const found = await followVideo(video, engine, () => {}, signal);
  const pair = (await found.pair(7, 20, signal)).map(read);
  video.remove();
  return { frames: found.frames, fps: found.fps, pair };
}"""


@in_browser
@pytest.mark.parametrize("ms", [5, 100])
def test_a_slow_device_takes_every_frame_of_a_video(page, tmp_path, ms):
    """Played as slowly as browsers can, it misses every other frame or more."""
    numbers = range(33)
    frames = [np.full((100, 600, 3), 30, np.uint8) for _ in numbers]
    for number, frame in enumerate(frames):
        for bit in range(6):
            frame[:, 100 * bit : 100 * bit + 100] = 225 if number >> bit & 1 else 30
    video = write_video(tmp_path / "numbers.webm", frames, "VP80", fps=100)
    content = base64.b64encode(video.read_bytes()).decode()
    found = page.evaluate(FOLLOW, [content, ms])
    assert [frame["number"] for frame in found["frames"]] == list(numbers)
    seconds = [frame["seconds"] for frame in found["frames"]]
    np.testing.assert_allclose(seconds, np.arange(33) / 100, atol=1e-3)
    assert found["fps"] == pytest.approx(100, rel=1e-3)
    assert found["pair"] == [7, 20]


@in_browser
def test_a_video_at_work_stops_for_another_one_and_for_another_source(page, tmp_path):
    frames, _ = drawn_clip(33)
    long = write_video(tmp_path / "long.webm", list(frames) * 2, "VP80", fps=10)
    short = write_video(tmp_path / "short.webm", list(frames[:16]), "VP80", fps=25)
    video = page.locator("#video-file")

    def give_long() -> None:
        video.set_input_files(long)
        wait_until(page, "film.currentTime > 0.3")

    choose(page, "Video")
    answer = outcome(page, lambda: (give_long(), video.set_input_files(short)))
    assert answer["frames"]["apex"] < 16
    assert "which is none" in outcome(page, lambda: video.set_input_files(__file__))["problem"]
    assert not page.locator("#timeline").is_visible()
    give_long()
    choose(page, "Two pictures")
    choose(page, "Video")
    wait_until(page, "film.controls")
    assert page.evaluate("film.paused")


@in_browser
def test_the_camera_answers_live_and_when_stopped(page):
    choose(page, "Camera")
    live = outcome(page, lambda: press(page, "Start the camera"))
    assert live["spotting"]["moved"]
    stopped = outcome(page, lambda: press(page, "Stop and look"))
    assert any("frames a second" in doubt for doubt in stopped["doubts"])
    assert stopped["frames"]["onset"] < stopped["frames"]["apex"]
    assert page.evaluate("document.getElementById('live').srcObject") is None


# The browser asks its user; `allow` answers all of it, and `tracks` are those that it opened.
ASK = """() => {
  const open = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
  const allowed = new Promise((resolve) => { window.allow = resolve; });
  window.tracks = [];
  navigator.mediaDevices.getUserMedia = async (wanted) => {
    await allowed;
    const stream = await open(wanted);
    window.tracks.push(...stream.getTracks());
    return stream;
  };
}"""


@in_browser
def test_a_camera_that_is_not_wanted_any_more_is_closed(page):
    page.evaluate(ASK)
    choose(page, "Camera")
    button = page.locator("#camera-button")
    for _ in range(3):  # start, stop and start it
        button.click()
    choose(page, "Video")
    page.evaluate("allow()")
    wait_until(page, "tracks.length > 1")
    page.wait_for_timeout(200)
    assert page.evaluate("tracks.every((track) => track.readyState === 'ended')")
    assert page.evaluate("document.getElementById('live').srcObject") is None
    choose(page, "Camera")
    button.click()
    page.locator("#live").wait_for(timeout=WAIT)
    unplugged = outcome(page, lambda: page.evaluate("tracks.at(-1).stop()"))
    assert "must stay connected" in unplugged["problem"]
    assert not page.locator("#live").is_visible()
    assert "for at least a second" in outcome(page, button.dblclick)["problem"]


@in_browser
def test_everyone_can_use_it(page):
    axe = Axe()
    onset = drawn_clip()[0][0]

    def violations() -> list[str]:
        found = []
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
            found += [each["id"] for each in axe.run(page).response["violations"]]
        return found

    assert violations() == []
    give_pair(page, *[np.hstack([onset, onset])] * 2)  # with a reason for distrust
    assert violations() == []
    for size in ("", "34px"):  # twice the size of text
        page.evaluate("(size) => { document.documentElement.style.fontSize = size; }", size)
        assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    page.evaluate("document.documentElement.style.fontSize = ''")
    page.emulate_media(forced_colors="active")
    shown = "(of) => getComputedStyle(document.querySelector(of))"
    assert page.evaluate(f"({shown})('.sources input:checked + span').outlineStyle") == "solid"
    bar, card = (
        page.evaluate(f"({shown})('{of}').backgroundColor") for of in (".bar span", "#answer")
    )
    assert bar != card
    page.emulate_media(forced_colors="none")
    choose(page, "Camera")
    assert violations() == []
    targets = page.locator("button:visible, .button:visible, .sources label").all()
    assert min(each.bounding_box()["height"] for each in targets) >= 44
    choose(page, "Video")
    video = page.locator("#video-file")
    assert outcome(page, lambda: video.set_input_files(__file__)).keys() == {"problem"}
    assert violations() == []


@in_browser
def test_it_works_without_a_network_and_shows_what_is_exported_anew(browser, web, tmp_path):
    frames, at = drawn_clip()
    folder = tmp_path / "page"
    shutil.copytree(web / "page", folder)
    for path in folder.rglob("*"):
        os.utime(path, (0, 0))  # browsers ask again for what is new
    with served(folder) as address:
        context = browser.new_context(viewport=PHONE)
        page = context.new_page()
        opened(page, address)
        page.evaluate("() => navigator.serviceWorker.ready.then(() => true)")
        # A page in a folder below has a cache of its own; this one lost its own.
        page.evaluate(
            f"""async () => {{
              for (const key of await caches.keys()) await caches.delete(key);
              await caches.open("{address}below/1");
            }}"""
        )
        page.reload()
        page.locator("#status:text('Ready.')").wait_for(timeout=WAIT)
        kept = "() => caches.match('recognizer.tflite').then(Boolean)"
        assert page.evaluate(kept)
        for name, old, new in (
            ("texts.js", 'title: "Micro-expressions"', 'title: "Exported anew"'),
            ("files.js", 'VERSION = "', 'VERSION = "new'),
        ):
            content = (folder / name).read_text()
            assert old in content
            (folder / name).write_text(content.replace(old, new))
        # A reload asks for what is new too, but an earlier load's question may come first.
        page.evaluate("() => navigator.serviceWorker.ready.then((kept) => { kept.update(); })")
        page.get_by_text("A newer version of this page").wait_for(timeout=WAIT)
    page.reload()  # there is no server any more
    page.locator("#status:text('Ready.')").wait_for(timeout=WAIT)
    assert page.locator("h1").inner_text() == "Exported anew"
    assert f"{address}below/1" in page.evaluate("() => caches.keys()")
    assert "problem" not in give_pair(page, frames[0], frames[at])
    manifest = json.loads((web / "page" / "manifest.webmanifest").read_text())
    assert all((web / "page" / icon["src"]).is_file() for icon in manifest["icons"])
    context.close()


@in_browser
def test_a_page_that_is_opened_as_a_file_says_how_to_serve_it(browser, web):
    page = browser.new_page()
    page.goto((web / "page" / "index.html").as_uri())
    page.get_by_text("must come from a web server").wait_for(timeout=WAIT)
    page.close()


@in_browser
def test_its_policy_forbids_foreign_addresses_to_the_worker_too(browser, address):
    page = browser.new_page()
    requests, _ = opened(page, address)
    outcomes = page.evaluate(
        """() => Promise.all([fetch("http://127.0.0.2:9/").catch(() => "refused"),
          new Promise((resolve) => {
            const code = `fetch("http://127.0.0.2:9/").catch(() => postMessage("refused"))`;
            const worker = new Worker(URL.createObjectURL(new Blob([code])));
            worker.onmessage = ({ data }) => resolve(data);
          })])"""
    )
    page.close()
    assert outcomes == ["refused", "refused"]
    assert not any("127.0.0.2" in request for request in requests)


@in_browser
def test_bad_pictures_and_videos_get_a_sentence(page, tmp_path):
    onset = drawn_clip()[0][0]
    plain = np.full((240, 320, 3), 120, np.uint8)
    assert "which is none" in give(page, onset=b"no picture")["problem"]
    assert "none is found" in give_pair(page, plain, plain)["problem"]
    see_through = cv2.imencode(".png", cv2.cvtColor(onset, cv2.COLOR_RGB2BGRA) - [0, 0, 0, 1])[1]
    found = give(page, onset=see_through.tobytes())["problem"]
    assert "must be opaque" in found
    assert "of one size" in give(page, onset=encoded(onset))["problem"]
    choose(page, "Video")
    video = page.locator("#video-file")
    assert "which is none" in outcome(page, lambda: video.set_input_files(__file__))["problem"]
    film = write_video(tmp_path / "plain.webm", [plain] * 4, "VP80", fps=25)
    assert "frames in which none" in outcome(page, lambda: video.set_input_files(film))["problem"]
    single = write_video(tmp_path / "single.webm", [onset], "VP80", fps=25)
    found = outcome(page, lambda: video.set_input_files(single))["problem"]
    assert "at least 2 frames with a face. Received: 1." in found


@in_browser
@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ([], "No camera is found"),
        ([CAMERA[0], f"{CAMERA[1]}=deny"], "The camera is not allowed"),
    ],
)
def test_a_camera_that_cannot_be_used_gets_a_sentence(playwright, address, flags, words):
    browser = playwright.chromium.launch(executable_path=CHROMIUM, args=[*FLAGS, *flags])
    page = browser.new_page()
    opened(page, address)
    choose(page, "Camera")
    assert words in outcome(page, lambda: press(page, "Start the camera"))["problem"]
    browser.close()


@in_browser
def test_a_camera_without_a_face_gets_a_sentence(playwright, address, tmp_path):
    filmed = tmp_path / "plain.mjpeg"
    filmed.write_bytes(encoded(np.full((240, 320, 3), 120, np.uint8), ".jpg") * 5)
    camera = [*CAMERA, f"--use-file-for-fake-video-capture={filmed}"]
    browser = playwright.chromium.launch(executable_path=CHROMIUM, args=[*FLAGS, *camera])
    page = browser.new_page()
    _, errors = opened(page, address)
    choose(page, "Camera")
    press(page, "Start the camera")
    page.get_by_text("Looking for a face").wait_for(timeout=WAIT)
    page.wait_for_timeout(1000)
    assert "must show a face" in outcome(page, lambda: press(page, "Stop and look"))["problem"]
    browser.close()
    assert errors == []


@in_browser
def test_missing_and_damaged_files_get_a_sentence(browser, address, web):
    model = bytearray((web / "page" / "recognizer.tflite").read_bytes())
    model[len(model) // 2] ^= 255
    cases = {
        "recognizer.tflite": {"body": bytes(model)},
        "model.json": {"body": "{"},
        "litert/litert.js": {"status": 404},
        "recognizer.js": {"status": 404},
    }
    for name, answer in cases.items():
        context = browser.new_context(service_workers="block")
        context.route(f"**/{name}", functools.partial(fulfill, answer))
        page = context.new_page()
        opened(page, address)
        problem = page.locator("#problem").inner_text()
        context.close()
        assert problem.startswith("The page must have all its files, whole. Received: ")
        assert (name.split("/")[0] if "/" in name else name) in problem


def fulfill(answer: dict, route) -> None:
    route.fulfill(**answer)


@in_browser
def test_a_run_answers_with_its_own_file_and_classes(run, litert, browser, tmp_path):
    written = export_web(run.name, runs=run.parent, out=tmp_path / "page", litert=litert)
    assert written.model == "model_dynamic.tflite"
    frames, at = drawn_clip()
    with served(written.folder) as address, Recognizer(run / written.model) as recognizer:
        page = browser.new_page()
        opened(page, address)
        answer = give_pair(page, frames[0], frames[at])
        expected = recognizer.pair(frames[0], frames[at])
        page.close()
    assert answer["probabilities"] == pytest.approx(expected.probabilities, abs=1e-3)
    assert answer["label"] == expected.label
    assert answer["model"] == f"run {run.name} (model_dynamic.tflite)"


def test_what_is_written(web):
    page = web / "page"
    facts = json.loads((page / "model.json").read_text())
    assert facts["classes"] == ["negative", "other", "positive", "surprise"]
    assert "Apache License" in (page / "litert" / "LICENSE.txt").read_text()
    names = {path.relative_to(page).as_posix() for path in page.rglob("*") if path.is_file()}
    listed = json.loads((page / "files.js").read_text().split("self.FILES = ")[1].rstrip(";\n"))
    assert set(listed) == (names - {"files.js"}) | {"./"}
    scripts = [path.read_text() for path in (*page.glob("*.js"), page / "index.html")]
    assert not any("https:" in script for script in scripts)


def test_it_is_written_by_the_command_and_again(litert, tmp_path, capsys):
    command = ["export", "--web", "--out", str(tmp_path / "page"), "--litert", str(litert)]
    for _ in range(2):
        assert main(args=command) == 0
    said = capsys.readouterr().out
    assert f"http.server --bind 127.0.0.1 --directory {tmp_path / 'page'}" in said
    assert "recognizer.tflite 2.2" in said
    assert [path.name for path in tmp_path.iterdir()] == ["page"]
    (tmp_path / "page" / "notes.txt").touch()
    assert main(args=command) == 1
    assert "which holds notes.txt" in capsys.readouterr().err


def test_mistakes_are_one_line_and_leave_nothing(litert, tmp_path, capsys):
    runs, out = tmp_path / "runs", tmp_path / "page"
    (runs / "flow").mkdir(parents=True)
    assert main(args=["export"]) == 1
    assert "--run" in capsys.readouterr().err
    assert main(args=["export", "--run", "flow", "--out", str(out)]) == 1
    assert "--web" in capsys.readouterr().err
    assert main(args=["export", "--run", "flow", "--runs", str(runs), "--web"]) == 1
    wanted = f"Run first: casme-tf export --run flow --runs {runs}\n"
    assert capsys.readouterr().err.endswith(wanted)
    assert main(args=["export", "--run", "none", "--runs", str(runs), "--web"]) == 1
    assert "none, which is not there" in capsys.readouterr().err
    assert main(args=["export", "--web", "--formats", "int8", "--data-dir", str(runs)]) == 1
    assert "--web with --data-dir, --formats" in capsys.readouterr().err
    (runs / "model.json").write_text("{}")  # such a file is no page yet
    for folder, received in {
        runs: "which holds model.json",
        runs / "model.json": "which is a file",
        Path(): "which you are in",
    }.items():
        with pytest.raises(UserError, match=received):
            export_web(out=folder, litert=litert)
    assert (runs / "model.json").is_file()
    with pytest.raises(UserError, match=r"npm pack @litertjs/core@"):
        export_web(out=out, litert=tmp_path)
    for archive in litert.iterdir():
        (tmp_path / archive.name).write_bytes(archive.read_bytes()[:-1])
    with pytest.raises(UserError, match="a damaged or another file"):
        export_web(out=out, litert=tmp_path)
    assert not out.exists()


def test_litert_is_downloaded_once_and_again_if_it_is_damaged(
    litert, tmp_path, monkeypatch, capsys
):
    asked = []

    def urlopen(address: str, timeout: float) -> io.BytesIO:
        name = next(a.name for a in web_page._ARCHIVES if a.address == address)
        asked.append(name)
        answer = io.BytesIO((litert / name).read_bytes())
        answer.headers = {}  # type: ignore[attr-defined]
        return answer

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("urllib.request.urlopen", urlopen)
    for _ in range(2):
        export_web(out=tmp_path / "page")
    core, other = (archive.name for archive in web_page._ARCHIVES)
    assert asked == [core, other]
    (tmp_path / "cache" / "casme_tf" / other).write_bytes(b"half of i")
    export_web(out=tmp_path / "page")
    assert asked == [core, other, other]

    def broken(address: str, timeout: float) -> io.BytesIO:
        raise urllib.error.URLError("Name or service not known")

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "empty"))
    monkeypatch.setattr("urllib.request.urlopen", broken)
    with pytest.raises(UserError, match=r"not known. Try again, or .* --litert"):
        export_web(out=tmp_path / "other")
    assert not (tmp_path / "other").exists()
