"""The last pass of a mixture: the likeliest component of all rows, and moments of those labels."""

from dataclasses import dataclass

import numpy as np

from dclust.algorithms.mixture import Mixture
from dclust.algorithms.pca import refuse
from dclust.kernels.mixture import Pairs
from dclust.kernels.nearest import distance_to
from dclust.passes.blocks import Block
from dclust.summaries.mixture import Shared


@dataclass(frozen=True)
class WriteLikeliest:
    """What `passes.writing` makes of a block: labels, distances to means, log-likelihoods."""

    mixture: Mixture

    def __call__(self, block: Block) -> tuple[dict[str, np.ndarray], Shared]:
        """The columns to write; moments about the means, each row wholly its label's.

        Raises
        ------
        DataError
            A row is not finite, or too large to be squared.
        """
        slabs, means = list(self.mixture.shares(block)), self.mixture.means
        label = np.concatenate([np.empty(0, np.int32), *(p.label for p in slabs)])
        log = np.concatenate([np.empty(0), *(p.likelihood for p in slabs)])
        if not np.isfinite(log).all():
            refuse(block)
        m = len(block)
        own = Pairs(0, m, np.arange(m, dtype=np.int32), label, np.ones(m), log)
        seen = Shared.of(block.x, block.weight, [own], means, "diag")
        distance = np.sqrt(distance_to(block.x, means, label))
        real = {"distance": distance, "log_likelihood": log}
        return {"label": label} | {n: c.astype(np.float32) for n, c in real.items()}, seen
