"""Images: format, bytes and dimensions of four formats, and of PNG the mean brightness, exactly."""

from __future__ import annotations

from base64 import b64encode
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sidecar.statistics import images, png
from sidecar.statistics.baseline import INVALID, MISSING
from sidecar.statistics.field_counter import FieldCounter
from sidecar.statistics.freezing import freeze_field
from tests.support import pictures

LUMA = np.array([0.299, 0.587, 0.114])


@st.composite
def rasters(draw: st.DrawFn) -> tuple[bytes, float]:
    """A PNG of any plain kind and filters, and its brightness from the raster."""
    width, height = draw(st.integers(1, 9)), draw(st.integers(1, 7))
    colour, depth = draw(
        st.sampled_from([(0, 8), (0, 16), (2, 8), (2, 16), (4, 8), (4, 16), (6, 8), (6, 16)])
    )
    channels, size = pictures.CHANNELS[colour], depth // 8
    shape = (height, width, channels)
    values = np.array(
        draw(
            st.lists(st.integers(0, 2**depth - 1), min_size=int(np.prod(shape)), max_size=int(np.prod(shape)))
        )
    ).reshape(shape)
    rows = values.astype(f">u{size}").view(np.uint8).reshape(height, -1)
    filters = draw(st.lists(st.integers(0, 4), min_size=1, max_size=5))
    means = values.reshape(-1, channels).mean(axis=0) / (2**depth - 1)
    return pictures.png(rows, width, colour, depth, filters), float(
        means[0] if channels < 3 else means[:3] @ LUMA
    )


@settings(deadline=None, max_examples=150)
@given(rasters())
def test_brightness_is_the_rasters_whatever_the_filters(made: tuple[bytes, float]) -> None:
    data, expected = made
    assert png.brightness(data) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("depth", [1, 2, 4, 8])
def test_brightness_of_few_bits_and_of_a_palette(depth: int) -> None:
    chance = np.random.default_rng(depth)
    indexes = chance.integers(0, 2**depth, (5, 11))
    bits = (indexes[..., None] >> np.arange(depth)[::-1]) & 1
    rows = np.packbits(bits.reshape(5, -1), axis=1)
    shades = indexes / (2**depth - 1)
    assert png.brightness(pictures.png(rows, 11, 0, depth, (4, 1))) == pytest.approx(shades.mean())
    colours = chance.integers(0, 256, (2**depth, 3), dtype=np.uint8)
    expected = (colours[indexes] @ LUMA).mean() / 255
    assert png.brightness(pictures.png(rows, 11, 3, depth, (2, 3), colours.tobytes())) == pytest.approx(
        expected
    )


def test_what_is_broken_has_no_brightness_and_raises_nothing() -> None:
    whole = pictures.png(np.arange(48, dtype=np.uint8).reshape(4, 12), 4, 2, 8, (4,))
    for size in range(len(whole)):
        png.brightness(whole[:size])
    for at in range(8, len(whole)):
        png.brightness(whole[:at] + bytes([whole[at] ^ 0xFF]) + whole[at + 1 :])
    assert png.brightness(pictures.png(np.zeros((2, 2), np.uint8), 2, 3, 8)) is None, "no palette"
    assert png.brightness(pictures.png(np.zeros((2, 2), np.uint8), 2, 0, interlaced=True)) is None


def test_a_small_file_that_inflates_to_much_is_cut_where_the_header_ends() -> None:
    bomb = pictures.png(np.zeros((2, 4_000_000), np.uint8), 4, 0)
    assert png.brightness(bomb) == 0.0


@pytest.mark.parametrize("make", [pictures.jpeg, pictures.gif, pictures.webp])
def test_headers_of_other_formats_give_dimensions_and_no_brightness(make: Any) -> None:
    found = images.measured(make(640, 480))
    assert found is not None
    assert found[1][1:] == [640.0, 480.0, images.UNMEASURED]
    url = images.measured("data:image/x;base64," + make(640, 480))
    assert url == found


def test_bytes_are_those_of_the_file_without_padding() -> None:
    for extra in range(3):
        data = pictures.png(np.zeros((3, 3), np.uint8), 3, 0) + bytes(extra)
        found = images.measured(b64encode(data).decode())
        assert found is not None
        assert found[1][0] == len(data)


def test_what_is_no_image_is_unreadable_and_counted_so() -> None:
    field = freeze_field("photo", [pictures.gray(8, 8, shade) for shade in range(100, 160)])
    assert field.kind == "image"
    assert [each.aspect for each in field.aspects] == ["bytes", "width", "height", "brightness"]
    values = [pictures.gray(8, 8, 120), "no image", None, 7, pictures.gray(8, 8, 120)[:60]]
    found = FieldCounter(field).counted(values)
    own = field.own_slots
    assert found.main.codes.tolist()[1:4] == [own + INVALID, own + MISSING, own + INVALID]
    assert found.main.details is not None
    assert found.main.details.tolist()[:2] == [1, 1], "7 is of a wrong type, a text is unreadable"


def test_what_is_not_measured_is_missing_and_what_is_broken_invalid() -> None:
    field = freeze_field("photo", [pictures.gray(8, 8, shade) for shade in range(60)])
    broken = bytearray(pictures.png(np.zeros((8, 8), np.uint8), 8, 0))
    broken[45] ^= 0xFF
    values = [pictures.jpeg(8, 8), b64encode(bytes(broken)).decode(), pictures.gray(8, 8, 30)]
    brightness = FieldCounter(field).counted(values).aspects[3]
    own = field.aspects[3].own_slots
    assert brightness.codes.tolist()[:2] == [own + MISSING, own + INVALID]
    assert brightness.codes.tolist()[2] < own


def test_darker_images_are_another_brightness_and_nothing_else() -> None:
    chance = np.random.default_rng(5)
    field = freeze_field("photo", [pictures.gray(8, 8, int(each)) for each in chance.integers(100, 200, 400)])
    counter = FieldCounter(field)
    dark = counter.counted([pictures.gray(8, 8, int(each)) for each in chance.integers(20, 90, 50)])
    for aspect, coded in zip(field.aspects, dark.aspects, strict=True):
        under = int((coded.codes == aspect.own_slots).sum())
        assert (aspect.aspect, under > 40) == (aspect.aspect, aspect.aspect == "brightness")


def test_of_large_images_a_share_is_measured_and_always_the_same_ones() -> None:
    chance = np.random.default_rng(6)
    side = 128
    texts = [
        b64encode(
            pictures.png(np.full((side, side), number % 251, np.uint8), side, 0) + chance.bytes(4)
        ).decode()
        for number in range(120)
    ]
    lights = [images.measured(text) for text in texts]
    measured = [found is not None and found[1][3] != images.UNMEASURED for found in lights]
    expected = images.PIXELS_ALWAYS / side**2
    assert abs(np.mean(measured) - expected) < 0.2, "about half of these"
    assert [images.measured(text) for text in texts] == lights


def test_images_without_any_brightness_have_no_such_aspect() -> None:
    field = freeze_field("photo", [pictures.jpeg(8 + number, 9) for number in range(40)])
    assert [each.aspect for each in field.aspects] == ["bytes", "width", "height"]
