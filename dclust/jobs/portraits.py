"""What the components of a mixture look like: means, axes, samples, likely and unlikely rows."""

from dataclasses import dataclass

import numpy as np

from dclust.algorithms.drawing import draw, leading
from dclust.algorithms.mixture import Mixture
from dclust.jobs.album import Album
from dclust.jobs.painting import Painter
from dclust.jobs.publishing import Result
from dclust.report.findings import Axis, Component, Picture

AXES_SHOWN = 4


@dataclass(frozen=True)
class Portraits:
    """Pictures of components, where a clustering is a mixture and rows become pixels again."""

    result: Result
    album: Album
    painter: Painter | None
    seed: int  # of what is drawn from them
    pictures: int  # to draw of each

    def overall(self) -> tuple[tuple[Picture, ...], tuple[Picture, ...]]:
        """The most and the least likely rows of all."""
        if self.result.likelihoods is None:
            return (), ()
        ranked = self.result.likelihoods.ranked
        likely = self.album.strip(ranked.most, 0, ".4g", -1)
        return likely, self.album.strip(ranked.least, 0, ".4g")

    def component(self, number: int) -> Component | None:
        """One component; None of anything but a mixture."""
        model, likelihoods = self.result.model, self.result.likelihoods
        if not isinstance(model, Mixture) or likelihoods is None:
            return None
        ranked, weight = likelihoods.ranked, float(model.weights[number])
        likely = self.album.strip(ranked.likely, number, ".4g", -1)
        unlikely = self.album.strip(ranked.unlikely, number, ".4g")
        if self.painter is None:
            return Component(weight, likely, unlikely)
        [mean] = self.painter.images(model.means[number][None])
        steps, share = leading(model, number, AXES_SHOWN)
        axes = zip(self.painter.directions(steps), share.tolist(), strict=True)
        # A draw of its own for each component: none changes with how many are shown.
        random = np.random.RandomState([self.seed, number])
        samples = draw(model, np.full(self.pictures, number), random)
        return Component(
            weight,
            likely,
            unlikely,
            mean,
            tuple(Axis(pixels, part) for pixels, part in axes),
            tuple(self.painter.images(samples)),
        )
