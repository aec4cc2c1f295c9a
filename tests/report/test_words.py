"""Numbers read well, and foreign text shows what it is."""

import pytest

from dclust.report import words


def test_hidden_characters_are_spelled_out():
    """What reorders a line, ends it or cannot be written is shown for what it is."""
    assert words.visible("invoice\u202egpj.exe") == "invoice⟨U+202E⟩gpj.exe"
    assert words.visible("a\x00b\udcff") == "a⟨U+0000⟩b⟨FF⟩"
    assert words.visible("שלום 你好 👩‍🔬 naïve\n") == "שלום 你好 👩‍🔬 naïve\n"


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        (words.count(12345), "12,345"),
        (words.counted(1, "row"), "1 row"),
        (words.counted(2, "class", "classes"), "2 classes"),
        (words.number(0.51234), "0.512"),
        (words.number(-0.1), "\N{MINUS SIGN}0.100"),
        (words.number(0.0), "0"),
        (words.number(1165122.4), "1,165,122"),
        (words.number(0.000042), "4.20 \N{MULTIPLICATION SIGN} 10⁻⁵"),
        (words.number(float("nan")), "undefined"),
        (words.interval(0.498, 0.526, 0.512), "[0.498, 0.526]"),
        (words.interval(None, None, 0.512), ""),
        (words.compact(1000), "1,000"),
        (words.compact(10_000), "10k"),
        (words.compact(1_220_000), "1.22M"),
        (words.compact(0.25), "0.25"),
        (words.share(0.101), "10.1 %"),
        (words.share(1e-6), "< 0.1 %"),
        (words.share(1.0), "100 %"),
        (words.duration(0.213), "0.21 s"),
        (words.duration(59.97), "1 min 00 s"),
        (words.duration(7500), "2 h 05 min"),
        (words.day("2026-06-04T14:03:00+00:00"), "4 June 2026, 14:03 UTC"),
        (words.day("yesterday"), "yesterday"),
        (words.short("x" * 100, 10), "xxxxxx…xxx"),
        (words.setting({"a": [1, 1e-4, None, True]}), "a: 1, 0.0001, none, yes"),
    ],
)
def test_numbers_read_well(said, meant):
    """Numbers, times and names are written as people write them."""
    assert said == meant
