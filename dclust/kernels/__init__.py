"""Arrays in, arrays out: the arithmetic of dclust, in NumPy, SciPy and numba.

Compiled kernels are cached in a folder only its owner can enter, because numba's
cache files are pickles; `NUMBA_CACHE_DIR` moves it.
"""

import os
import stat
from pathlib import Path

import numba


def _private_cache() -> None:
    """Point numba at a cache folder of mode 0700 that belongs to this user."""
    if "NUMBA_CACHE_DIR" in os.environ:
        return
    home = os.environ.get("XDG_CACHE_HOME") or str(Path("~/.cache").expanduser())
    folder = Path(home) / "dclust" / "kernels"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = folder.stat()
    except OSError:
        return  # no writable home: numba falls back to its own per-user folder
    if found.st_uid == os.getuid() and not stat.S_IMODE(found.st_mode) & 0o077:
        numba.config.CACHE_DIR = str(folder)


_private_cache()


def warm_up() -> None:
    """Compile or load every kernel now, so that no pass waits for it; not those of mixtures."""
    import numpy as np

    from dclust.kernels.extent import column_ranges
    from dclust.kernels.memory import Memory, show
    from dclust.kernels.nearest import distance_to, nearest_center
    from dclust.kernels.projection import Projection, project
    from dclust.kernels.pruning import settle
    from dclust.kernels.resting import Reach, ready, rest
    from dclust.kernels.sums import add_rows, add_values, fall_of, means_of, move_rows, moved_of

    bound = Projection(np.zeros(2, np.float32), np.eye(2, dtype=np.float32), 1, 1.0)
    for kind in (np.uint8, np.float32):
        x, label = np.zeros((2, 2), kind), np.zeros(2, np.int32)
        column_ranges(x)
        nearest_center(x, np.zeros((2, 2)))
        distance_to(x, np.zeros((2, 2)), label)
        shown = show(np.zeros((2, 2)), bound, None)
        settle(x, project(x, bound), shown, Memory.blank(2, 2))
        rest(x, ready(np.zeros((2, 2)), None, np.float32), Reach.blank(2))
        sums, count = np.zeros((1, 2), np.int64), np.zeros(1, np.int64)
        grid = (np.zeros(2), np.ones(2), 1.0)
        add_rows(x, label, None, 1, grid, sums, count)
        move_rows(x, label, label, None, grid, sums, count)
    add_values(np.zeros(2), label, None, 1.0, 1)
    fall_of(sums, np.ones(1), np.zeros((1, 2)), np.zeros(2), np.ones(2))
    moved_of(np.zeros((1, 2)), means_of(sums, np.ones(1), np.zeros(2), np.ones(2)))


def warm_up_mixtures() -> None:
    """The same for what only mixtures use, which others need not wait for."""
    import numpy as np

    from dclust.kernels.gaussians import Gaussians
    from dclust.kernels.mixture import shares
    from dclust.kernels.moments import add_moments, blank

    means, one = np.zeros((2, 2)), np.eye(2)
    for x in (np.zeros((2, 2), np.uint8), np.zeros((2, 2), np.float32)):
        for name, factors in (("full", np.stack([one, one])), ("tied", one), ("diag", one + 1)):
            for p in shares(x, Gaussians(name, means, factors, np.zeros(2))):
                pairs, sums = (p.row, p.component, p.share), (np.zeros(2), np.zeros((2, 2)))
                add_moments(x, p.start, pairs, means, *sums, blank(name, 2, 2))
