"""Pictures stay small, whatever the number of labels, and their names are written, or escaped, without a warning."""

import warnings

import numpy as np
import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from matplotlib import font_manager

from tfllm.train.callbacks import fonts
from tfllm.train.callbacks.images import attention_image, confusion_matrix_image


def picture(size, times=1, name="label"):
    return confusion_matrix_image(np.eye(size, dtype=int) * times, [f"{name} {number}" for number in range(size)])


def test_few_labels_take_little_place():
    assert picture(3).shape == (330, 410, 4)


@pytest.mark.parametrize("size", [77, 950])
def test_many_labels_take_no_more_than_a_page(size):
    assert picture(size).shape == (2000, 2000, 4)


def test_counts_are_written_where_they_can_be_read():
    assert not np.array_equal(picture(20), picture(20, times=2))
    np.testing.assert_array_equal(picture(21), picture(21, times=2))


def test_labels_are_written_where_they_can_be_read():
    assert not np.array_equal(picture(60), picture(60, name="class"))
    np.testing.assert_array_equal(picture(61), picture(61, name="class"))


SCRIPTS = ["中文", "にほん", "한국어", "ไทย", "हिन्दी", "العربية", "русский", "🙂", "\n", "\x00", "$x^2$", "\ue000"]
"""Chinese, Japanese, Korean, Thai, Hindi, Arabic, Russian, an emoji, controls, mathematics, a private character."""


@pytest.fixture
def only_dejavu(monkeypatch):
    """Matplotlib's own fonts, whatever else is installed here."""
    own = [entry for entry in font_manager.fontManager.ttflist if "matplotlib" in entry.fname]
    monkeypatch.setattr(font_manager.fontManager, "ttflist", own)
    yield from _found_anew()


def _found_anew():
    fonts.installed.cache_clear()
    fonts._has.cache_clear()
    yield
    fonts.installed.cache_clear()
    fonts._has.cache_clear()


def test_what_no_font_has_is_escaped(only_dejavu):
    assert fonts.writable("中文 cat") == r"\u4e2d\u6587 cat"
    assert fonts.writable("a\tb") == r"a\tb"
    assert fonts.writable("ไ हि") == r"\u0e44 \u0939\u093f"
    assert fonts.writable("العربية русский ñ") == "العربية русский ñ"
    assert fonts.writable("🙂\ue000") in (r"🙂\ue000", r"\U0001f642\ue000")


def test_pictures_of_all_scripts_give_no_warning(only_dejavu):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        attention_image(np.zeros([2, len(SCRIPTS), len(SCRIPTS)]), SCRIPTS)
        confusion_matrix_image(np.eye(len(SCRIPTS), dtype=int), SCRIPTS)


def test_an_installed_font_writes_what_it_has(only_dejavu, tmp_path):
    path = tmp_path / "cjk.ttf"
    _write_font(path, family="WenQuanYi Zen Hei", char="中")
    escaped = attention_image(np.zeros([1, 2, 2]), ["中", "cat"])
    font_manager.fontManager.addfont(path)
    fonts.installed.cache_clear()
    fonts._has.cache_clear()
    assert fonts.writable("中文") == r"中\u6587"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert not np.array_equal(attention_image(np.zeros([1, 2, 2]), ["中", "cat"]), escaped)


def _write_font(path, family, char):
    """A font whose only character is a square."""
    pen = TTGlyphPen(None)
    pen.moveTo((0, 0))
    for corner in ((0, 1000), (1000, 1000), (1000, 0)):
        pen.lineTo(corner)
    pen.closePath()
    square = pen.glyph()
    builder = FontBuilder(1000, isTTF=True)
    builder.setupGlyphOrder([".notdef", "square"])
    builder.setupCharacterMap({ord(char): "square"})
    builder.setupGlyf({".notdef": square, "square": square})
    builder.setupHorizontalMetrics({".notdef": (1000, 0), "square": (1000, 0)})
    builder.setupHorizontalHeader(ascent=1000, descent=0)
    builder.setupNameTable({"familyName": family, "styleName": "Regular"})
    builder.setupOS2(sTypoAscender=1000)
    builder.setupPost()
    builder.save(path)


def test_an_attention_picture_has_four_panels_in_a_row():
    assert attention_image(np.zeros([1, 3, 3]), ["a", "b", "c"]).shape == (400, 400, 4)
    assert attention_image(np.zeros([6, 3, 3]), ["a", "b", "c"]).shape == (800, 1600, 4)


def test_each_head_stands_in_its_panel():
    """The brightest place of head 5, query 2, key 0 is in the second row and column of panels."""
    heads = np.zeros([6, 3, 3], np.float32)
    heads[5, 2, 0] = 1
    red = attention_image(heads, ["a", "b", "c"])[..., 0].astype(int)
    blue = attention_image(heads, ["a", "b", "c"])[..., 2].astype(int)
    rows, columns = np.nonzero((red > 200) & (blue < 60))  # viridis' yellow
    assert 400 < rows.min() <= rows.max() < 800 and 400 < columns.min() <= columns.max() < 800
