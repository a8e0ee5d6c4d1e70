import os
import random

import cv2
import numpy as np
import pytest
from PIL import Image

from casme_tf.clips.frames import FolderFrames, read_rgb
from casme_tf.errors import UserError

RAMP = np.linspace(0, 255, 24 * 32 * 3).astype(np.uint8).reshape(24, 32, 3)


def save(path, image, **options):
    image.save(path, **options)
    return path


def test_rgb_is_read_as_stored(tmp_path):
    path = save(tmp_path / "a.png", Image.fromarray(RAMP))
    rgb = read_rgb(path)
    assert rgb.dtype == np.uint8
    np.testing.assert_array_equal(rgb, RAMP)


def test_gray_is_repeated(tmp_path):
    path = save(tmp_path / "a.png", Image.fromarray(RAMP[..., 0]))
    np.testing.assert_array_equal(read_rgb(path), np.repeat(RAMP[..., :1], 3, axis=2))


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "1", "CMYK"])
def test_other_modes_become_rgb(tmp_path, mode):
    image = Image.fromarray(RAMP).convert(mode)
    path = save(tmp_path / "a.tif", image)
    np.testing.assert_array_equal(read_rgb(path), np.asarray(image.convert("RGB")))


def test_transparency_is_dropped_not_blended(tmp_path):
    transparent = np.dstack([RAMP, np.zeros(RAMP.shape[:2], np.uint8)])
    path = save(tmp_path / "a.png", Image.fromarray(transparent))
    np.testing.assert_array_equal(read_rgb(path), RAMP)


def test_rotation_noted_by_the_camera_is_applied(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # turn clockwise to show
    path = save(tmp_path / "a.png", Image.fromarray(RAMP), exif=exif)
    np.testing.assert_array_equal(read_rgb(path), np.rot90(RAMP, -1))


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize("channels", [1, 3])
def test_more_than_8_bits_are_refused(tmp_path, suffix, channels):
    path = tmp_path / f"a{suffix}"
    cv2.imwrite(str(path), RAMP[..., :channels].astype(np.uint16) * 257)
    with pytest.raises(UserError, match="8 bits a channel"):
        read_rgb(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "does not exist"), (b"", "is empty"), (b"no image at all", "which is none")],
)
def test_no_image(tmp_path, content, message):
    path = tmp_path / "img1.jpg"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=rf"img1\.jpg.*{message}"):
        read_rgb(path)


@pytest.mark.parametrize("name", ["onset.jpg", "onset.png", "onset.eps"])
def test_no_other_program_is_started(tmp_path, monkeypatch, name):
    """Pillow runs Ghostscript for EPS, whatever the file's name."""
    started = tmp_path / "started"
    program = tmp_path / "gs"
    program.write_text(f"#!/bin/sh\ntouch {started}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    path = tmp_path / name
    Image.fromarray(RAMP).save(path, format="EPS")
    with pytest.raises(UserError, match="which is none"):
        read_rgb(path)
    assert not started.exists()


@pytest.mark.parametrize("side", [8_000, 40_000])
def test_pixels_are_counted_before_they_are_decoded(tmp_path, side, recwarn):
    path = save(tmp_path / "a.png", Image.new("1", (side, side)))
    with pytest.raises(UserError, match="at most 50 million pixels"):
        read_rgb(path)
    assert not recwarn.list


@pytest.mark.parametrize("suffix", [".heic", ".avif", ".GIF"])
def test_what_to_convert_is_told_with_the_command(tmp_path, suffix):
    path = tmp_path / f"my img1{suffix}"
    path.write_bytes(b"anything")
    with pytest.raises(UserError, match=f"magick '.*my img1{suffix}' '.*my img1.png'"):
        read_rgb(path)
    with pytest.raises(UserError, match="Convert it"):
        FolderFrames(tmp_path)
    save(tmp_path / "img2.png", Image.fromarray(RAMP))
    frames = FolderFrames(tmp_path)
    assert frames.count == 1
    assert frames.notes == [
        f"{tmp_path}: 1 files ignored, such as {path.name}, which must be converted to .png or "
        ".jpg first."
    ]


def test_folder_is_no_image(tmp_path):
    with pytest.raises(UserError, match="must be an image file"):
        read_rgb(tmp_path)


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("suffix", [".jpg", ".png", ".bmp", ".tif", ".webp"])
def test_truncated_image(tmp_path, suffix):
    path = save(tmp_path / f"a{suffix}", Image.fromarray(RAMP))
    whole = path.read_bytes()
    for size in (1, 12, len(whole) // 4, len(whole) // 2):
        path.write_bytes(whole[:size])
        with pytest.raises(UserError, match=f"a{suffix}"):
            read_rgb(path)


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_damaged_image_is_a_user_error_or_still_an_image(tmp_path, suffix):
    path = save(tmp_path / f"a{suffix}", Image.fromarray(RAMP))
    whole = path.read_bytes()
    draw = random.Random(0)
    refused = 0
    for _ in range(60):
        damaged = bytearray(whole)
        for _ in range(5):
            damaged[draw.randrange(min(300, len(whole)))] = draw.randrange(256)
        path.write_bytes(damaged)
        try:
            assert read_rgb(path).shape[2] == 3
        except UserError:
            refused += 1
    assert refused > 0
