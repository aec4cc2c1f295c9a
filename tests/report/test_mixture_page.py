"""Mixtures on the page: all that is known of a component is shown, and nothing it has not."""

import re
from dataclasses import replace

import numpy as np
import pytest

from dclust.report import figures, words
from dclust.report import page as page_module
from dclust.report.findings import Axis, Component, Criteria
from dclust.report.page import render
from tests.report.test_page import HOSTILE, check, clustering, findings, picture

CRITERIA = Criteria(
    (1, 2, 4, 8), (90.0, 70.0, 60.0, 65.0), (88.0, 66.0, 52.0, 45.0), (0.0, 1.0, 2.0, 1.0),
    (0.0, 1.0, 2.0, 1.0), 4,
)  # fmt: skip


def component(number, side=8):
    """A component with all there can be."""
    image = [picture(900 + number + i, side=side).pixels for i in range(2)]
    rows = [picture(500 + number + i, side=side, note=f"-{i}.5") for i in range(4)]
    axes = tuple(Axis(pixels, 0.375) for pixels in image)
    return Component(0.25, tuple(rows[:2]), tuple(rows[2:]), image[0], axes, tuple(image))


def mixture(**changes):
    """A clustering by a mixture of four, its likely rows in place of the typical ones."""
    one = clustering(name="GMM")
    shown = tuple(
        replace(c, typical=(), outlying=(), component=component(c.number)) for c in one.clusters
    )
    rows = tuple(picture(700 + i, note="-9.5") for i in range(4))
    whole = {"criteria": CRITERIA, "likely": rows[:2], "unlikely": rows[2:]}
    return replace(one, **{"clusters": shown, **whole, **changes})


def bare():
    """The same without pictures: weights alone."""
    shown = tuple(replace(c, component=Component(c.share)) for c in clustering(pictures=0).clusters)
    return mixture(clusters=shown, criteria=None, likely=(), unlikely=())


def test_page_shows_all_of_a_mixture():
    """Weights, means, axes and samples, the likely and the unlikely, and how many to take."""
    page = render(findings(clustering(), mixture()))
    seen = check(page)
    ids = set(seen.values("id"))
    assert {"criteria-2", "extremes-2"} <= ids
    assert not {"criteria-1", "extremes-1"} & ids
    for said in ("Component 3", "Cluster 3", "Component by component", "4 kept", "37.5 %"):
        assert said in seen.words
    assert seen.words.count("weight 25.0 %") == 4
    assert seen.words.count("drawn from the component, not in the collection") == 4
    assert seen.words.count("Most likely") == seen.words.count("Least likely") == 4 + 1
    assert seen.words.count("Typical") == 4 + 1, "the first clustering's, and its explanation"
    alt = seen.values("alt")
    for said in ("Mean of component 0", "Axis 2 of component 0"):
        assert alt.count(said) == 1
    assert alt.count("Sample 2, drawn from component 0, not in the collection") == 1
    assert "lower is better" in seen.words
    assert "standard deviation over starts" in seen.words


def test_page_of_a_mixture_with_weights_alone():
    """Rows without images have a column of weights, one start no whiskers."""
    exact = replace(CRITERIA, bic_spread=(0.0,) * 4, aic_spread=(0.0,) * 4)
    changes = {"image_shape": None, "duplicate_groups": ()}
    seen = check(render(findings(replace(bare(), criteria=exact), **changes)))
    assert "img" not in seen.tags
    assert re.search("Share ?Weight ?Mean distance", seen.words)
    assert "standard deviation" not in seen.words


def test_strips_that_are_filled_are_shown():
    """A mixture may keep typical and outlying rows, and a component may have no medoid."""
    one = mixture()
    kept = replace(clustering().clusters[0], component=one.clusters[0].component)
    alone = replace(one.clusters[1], medoid=None, border=(), component=Component(0.1))
    mean = Component(0.1, mean=picture(1).pixels)
    lonely = replace(one.clusters[2], medoid=None, border=(), component=mean)
    seen = check(render(findings(replace(one, clusters=(kept, alone, lonely)))))
    for said in ("Typical", "Border", "Outlying", "Most likely", "Least likely"):
        assert said in seen.words
    seen = check(render(findings(replace(one, clusters=(lonely,)))))
    assert f"Mean of component {lonely.number}" in seen.values("alt")
    assert "There are no images" not in seen.words


def test_hostile_names_in_a_mixture():
    """Names and notes of likely rows are text like all others."""
    rows = tuple(picture(i, name, note=name) for i, name in enumerate(HOSTILE))
    one = mixture(likely=rows, unlikely=rows)
    hostile = replace(one.clusters[0], component=Component(0.5, rows, rows))
    seen = check(render(findings(replace(one, clusters=(hostile, *one.clusters[1:])))))
    plain = check(render(findings(mixture())))
    assert set(seen.tags) == set(plain.tags)
    assert {a[:2] for a in seen.attributes} == {a[:2] for a in plain.attributes}


def test_made_images_keep_their_pixels():
    """Beside photographs, images made from few features are PNG, enlarged whole times."""
    photos = replace(clustering(side=96, classes=()), criteria=None)
    tiny = tuple(replace(c, component=component(c.number, 32)) for c in photos.clusters)
    page = render(findings(replace(photos, clusters=tiny), duplicate_groups=()))
    assert '<body class="pixelated">' not in page
    styles = check(page).values("style")
    assert styles.count("--tile:64px;image-rendering:pixelated") == 8
    assert styles.count("--medoid:160px;image-rendering:pixelated") == 4
    means = re.findall(r'src="data:image/(\w+);[^"]*" alt="(Mean|Axis|Sample)', page)
    assert len(means) == 20
    assert {kind for kind, _ in means} == {"png"}
    page = render(findings(replace(photos, clusters=tiny[:1]), duplicate_groups=()))
    assert page.count("image-rendering:pixelated") == 3


@pytest.mark.parametrize("what", ["samples", "axes", "likely", "unlikely", "all"])
def test_pictures_of_a_mixture_weigh(what, monkeypatch):
    """Whatever a mixture has many of makes all pictures smaller where a page would burst."""
    one = clustering(k=2, pictures=0)
    noise = picture(1, side=168, channels=3)
    many, room = 12, 150_000  # bytes; one such picture takes 20,000 as JPEG
    monkeypatch.setattr(page_module, "PICTURE_BYTES", room)
    if what == "all":
        one = replace(one, likely=(noise,) * many)
    else:
        each = {"samples": noise.pixels, "axes": Axis(noise.pixels, 0.1)}.get(what, noise)
        first = replace(one.clusters[0], component=Component(0.5, **{what: (each,) * many}))
        one = replace(one, clusters=(first,))
    page = render(findings(one, duplicate_groups=()))
    assert page.count("data:image/jpeg") == many
    assert sum(map(len, re.findall('base64,([^"]*)', page))) < 4 / 3 * room


def test_criteria_are_drawn():
    """Two curves, the number kept, whiskers where starts differ, and the same bytes each time."""
    one = mixture()
    drawn = figures.criteria(one, "k")
    assert drawn == figures.criteria(one, "k")
    for said in (">BIC<", ">AIC<", ">4 kept<", ">components<", 'aria-label="BIC and AIC of 4'):
        assert said in drawn
    assert "var(--accent)" in drawn
    assert not re.search("#0[1-4]0[1-4]0[1-4]|font-family|matplotlib|xmlns|http", drawn)
    exact = replace(CRITERIA, bic_spread=(0.0,) * 4, aic_spread=(0.0,) * 4)
    assert len(figures.criteria(replace(one, criteria=exact), "k")) < len(drawn)


def test_criteria_of_strange_values():
    """Fits that failed leave a gap; of one number there is no figure; large values stay apart."""
    one = mixture()
    gap = replace(CRITERIA, bic=(np.nan, 70.0, 60.0, np.inf), aic_spread=(np.nan,) * 4)
    page = render(findings(replace(one, criteria=gap)))
    assert "criteria-1" in page
    assert ">nan<" not in page
    single = Criteria((5,), (1.0,), (1.0,), (0.0,), (0.0,), 5)
    assert figures.criteria(replace(one, criteria=single), "k") == ""
    assert figures.criteria(replace(one, criteria=None), "k") == ""
    far = replace(CRITERIA, bic=(2e10 + 9, 2e10 + 5, 2e10, 2e10 + 3), aic=(2e10,) * 4)
    assert "20,000,000,008" in figures.criteria(replace(one, criteria=far), "k")
    assert "20,000,000,009" in render(findings(replace(one, criteria=far)))


@pytest.mark.parametrize(
    "wrong",
    [
        {"criteria": replace(CRITERIA, components=(1, 4, 2, 8))},
        {"criteria": replace(CRITERIA, bic=(1.0,))},
        {"criteria": replace(CRITERIA, chosen=3)},
        {"component": Component(1.5)},
        {"component": Component(0.5, axes=(Axis(np.zeros((8, 8, 1), np.uint8), np.nan),))},
        {"component": Component(0.5, mean=np.zeros((8, 8, 1)))},
        {"component": Component(0.5, samples=(np.zeros((8, 8), np.uint8),))},
    ],
    ids=["order", "lengths", "chosen", "weight", "share", "floats", "flat"],
)
def test_wrong_records_are_refused(wrong):
    """What cannot be shown is told where it was gathered, not by the page."""
    one = mixture()
    if "component" in wrong:
        wrong = {"clusters": (replace(one.clusters[0], **wrong),)}
    with pytest.raises(AssertionError):
        findings(replace(one, **wrong))


def test_scores_of_mixtures_have_hints():
    """The page says which way likelihoods and criteria should go."""
    assert words.score_hint("log_likelihood") == "mean of a row; higher is better"
    assert words.score_hint("bic") == words.score_hint("aic") == "lower is better"
    assert words.whole(12_345_678_901.4) == "12,345,678,901"
    assert words.whole(0.5) == "0.500"
    assert words.whole(-np.inf) == "\N{MINUS SIGN}∞"
