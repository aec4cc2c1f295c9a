"""DBSCAN by passes over tiles: the answer scikit-learn gives, by rules that know no order.

A row is core if the weight within eps, its own included, is min_samples or more; core rows
within eps belong together; a component's number is the rank of its smallest core row; a row
that is not core takes the smallest number among its core neighbours, or is noise. None of
this depends on who looks first (Ester et al., 1996, let the order decide; scikit-learn's order
gives these numbers).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np

from dclust.algorithms.density_tiles import Tiles, regrouped
from dclust.algorithms.labels import Gathered
from dclust.kernels.components import forest, roots, unite_all
from dclust.kernels.leaves import boxes
from dclust.kernels.radius import COUNT, LINK, TAKE, Work, sweep
from dclust.passes.blocks import Block
from dclust.passes.runner import Runner
from dclust.passes.sources import Source

LISTED = 64  # neighbours that are remembered of a row that is not core, at most
LINKS = 8  # and of one that is
NEAREST = 8  # leaves in which components are linked first
NEVER = np.iinfo(np.int32).max
LONGEST = 1.3e154  # a longer radius has no square
MANY = 1 / 20  # of the rows have to look everywhere before core rows are put in other leaves
LOOKED, NEARBY, EVERYWHERE, BORDERS, DONE = range(5)


@dataclass(frozen=True)
class Counted:
    """Which rows are core, and the neighbours seen while that was found out."""

    parts: tuple[tuple[int, np.ndarray, np.ndarray, np.ndarray], ...]  # first row, core (m,),
    # neighbours that are listed of each (m,), -1 where there were too many; all of them in a row

    def __add__(self, other: Self) -> "Counted":
        return Counted(self.parts + other.parts)


@dataclass(frozen=True)
class Links:
    """Pairs of components that belong together, as few as say so."""

    pairs: np.ndarray  # (m, 2) int32

    def __add__(self, other: Self) -> "Links":
        return self.merged([self, other])

    def merged(self, group: Sequence[Self]) -> "Links":
        """All that a few of their kind say."""
        return Links(forest(np.concatenate([one.pairs for one in group])))


@dataclass(frozen=True)
class Grown:
    """What is known of the rows, in the order of tiles."""

    step: int = LOOKED
    core: np.ndarray | None = None  # (n,) bool
    mark: np.ndarray | None = None  # (n,) int32, component of core rows by size, later number
    span: np.ndarray | None = None  # (L, 2) int32, least and largest mark of each leaf
    own: np.ndarray | None = None  # (n,) int32, what each looks with; see `kernels.radius.Work`
    cores: Tiles | None = None  # core rows by component, where many have to look everywhere
    edges: np.ndarray | None = None  # (m, 2) int32, rows that are not core and core neighbours
    many: np.ndarray | None = None  # rows of which not all neighbours are listed


@dataclass(frozen=True)
class Density:
    """Density clusters of the rows in some tiles."""

    tiles: Tiles
    weight: np.ndarray  # (n,) int64, in the order of tiles; or (1,), where all weigh alike
    goal: int  # weight within eps that makes a row core
    listed: int = LISTED

    def start(self, source: Source, runner: Runner) -> Grown:  # noqa: ARG002
        """Nothing is known."""
        return Grown()

    def wants(self, source: Source, model: Grown) -> tuple[Any, ...]:  # noqa: ARG002
        """All tiles, then those in which some row still looks for something."""
        chunks = (model.cores or self.tiles).source().chunks
        if model.step in (LOOKED, DONE):
            return chunks if model.step == LOOKED else ()
        assert model.own is not None
        least = 0 if model.step != BORDERS else -1
        return tuple(c for c in chunks if (model.own[c.start : c.stop] > least).any())

    def summarize(self, block: Block, model: Grown) -> Any:
        """What the rows of one tile find in all others."""
        start, stop = int(block.rows[0]), int(block.rows[-1]) + 1
        tiles = model.cores or self.tiles
        rows, leaves = tiles.rows, tiles.leaves
        ask = rows.part(start, stop)
        low, high = boxes(ask.points, tiles.width, leaves.low.shape[1])
        visit = tiles.visits(low, high, float(ask.wide.max()))
        if model.step == NEARBY:
            visit = visit[: len(low) + NEAREST]
        mode = {LOOKED: COUNT, BORDERS: TAKE}.get(model.step, LINK)
        work = self._work(mode, start, stop, model)
        sweep(
            np.int64(mode),
            ask,
            np.int64(start),
            low,
            high,
            rows,
            leaves,
            visit,
            tiles.bounds,
            tiles.exact,
            work,
        )
        tiles.let_go()
        if mode == COUNT:
            return self._counted(start, work)
        if mode == TAKE:
            sought = work.own >= 0
            return Gathered.of(block.rows[sought], work.own[sought])
        root = roots(work.parent)
        joined = np.flatnonzero(root != np.arange(len(root)))
        return Links(np.stack([joined, root[joined]], 1).astype(np.int32))

    def _work(self, mode: int, start: int, stop: int, model: Grown) -> Work:
        m, goal = stop - start, np.array([self.goal])
        none = np.empty(0, np.int32)
        if mode == COUNT:
            near = np.empty((m, self.listed), np.int32)
            span = np.empty((0, 2), np.int32)
            total = np.broadcast_to(self.weight, len(self.tiles.order))[start:stop].copy()
            return Work(
                total, goal, self.weight, near, np.zeros(m, np.int32), none, none, span, none
            )
        assert model.mark is not None
        assert model.own is not None
        assert model.span is not None
        components = int(model.mark.max()) + 1
        return Work(
            np.empty(0, np.int64),
            goal,
            self.weight,
            np.empty((0, 0), np.int32),
            none,
            model.own[start:stop].copy(),
            model.own if mode == LINK else model.mark,
            model.span,
            np.arange(components if mode == LINK else 0, dtype=np.int32),
        )

    def _counted(self, start: int, work: Work) -> Counted:
        core = work.total >= self.goal
        kept = np.where(core, np.minimum(work.seen, LINKS), work.seen)
        kept = np.minimum(kept, self.listed)
        kept[~core & (work.seen > self.listed)] = -1
        held = np.arange(self.listed) < kept[:, None]
        return Counted(((start, core, kept.astype(np.int32), work.near[held]),))

    def update(self, model: Grown, seen: Any) -> Grown:
        """The next thing to look for."""
        if model.step == LOOKED:
            return self._cored(seen)
        if model.step == BORDERS:
            assert model.own is not None
            return self._bordered(model, seen.in_order())
        assert model.mark is not None
        parent = np.arange(int(model.mark.max()) + 1, dtype=np.int32)
        unite_all(parent, seen.pairs)
        return self._joined(replace(model, mark=_through(roots(parent), model.mark)))

    def _cored(self, seen: Counted) -> Grown:
        """Core rows and their components, as far as the neighbours that were listed show."""
        parts = sorted(seen.parts, key=lambda part: part[0])
        core = np.concatenate([p[1] for p in parts])
        kept = np.concatenate([p[2] for p in parts])
        near = np.concatenate([p[3] for p in parts])
        row = np.repeat(np.arange(len(core), dtype=np.int32), np.maximum(kept, 0))
        pairs = np.stack([row, near], 1)[core[near]]
        inner = core[pairs[:, 0]]
        parent = np.arange(len(core), dtype=np.int32)
        unite_all(parent, pairs[inner])
        mark = np.where(core, roots(parent), -1).astype(np.int32)
        many = np.flatnonzero(kept < 0)
        return self._joined(Grown(LOOKED, core, mark, edges=pairs[~inner], many=many))

    def _joined(self, model: Grown) -> Grown:
        """Components by size; where there is one, or all was looked at, their numbers."""
        assert model.mark is not None
        core = np.flatnonzero(model.mark >= 0)
        size = np.bincount(model.mark[core])
        names = np.flatnonzero(size)
        rank = np.zeros(len(size), np.int32)
        rank[names[np.argsort(-size[names], kind="stable")]] = np.arange(len(names), dtype=np.int32)
        mark = model.mark.copy()
        mark[core] = rank[mark[core]]
        step = model.step + 1
        if step == NEARBY and len(self.tiles.leaves.low) <= 2 * NEAREST:
            step = EVERYWHERE
        if step < BORDERS and len(names) > 1:
            cores, own = None, mark
            if step == EVERYWHERE and (mark > 0).sum() > MANY * len(mark):
                cores, own = regrouped(self.tiles, mark)
            span = spans(own, self.tiles.width)
            return replace(model, step=step, mark=mark, own=own, span=span, cores=cores)
        return self._numbered(replace(model, mark=mark), len(names))

    def _numbered(self, model: Grown, components: int) -> Grown:
        """Components by their smallest row; then border rows, where all neighbours are listed."""
        assert model.mark is not None
        assert model.edges is not None
        assert model.many is not None
        core = np.flatnonzero(model.mark >= 0)
        smallest = np.full(components, len(model.mark), np.int64)
        np.minimum.at(smallest, model.mark[core], self.tiles.order[core])
        number = np.empty(components, np.int32)
        number[np.argsort(smallest)] = np.arange(components, dtype=np.int32)
        mark = model.mark.copy()
        mark[core] = number[mark[core]]
        if components and len(model.many):
            own = np.full(len(mark), -1, np.int32)
            own[model.many] = NEVER
            return replace(
                model,
                step=BORDERS,
                mark=mark,
                own=own,
                cores=None,
                span=spans(mark, self.tiles.width),
            )
        return self._bordered(replace(model, mark=mark), np.empty(0, np.int32))

    def _bordered(self, model: Grown, found: np.ndarray) -> Grown:
        """Border rows take the smallest number among their core neighbours.

        `found`: the numbers of rows that were sought, in the tiles that were looked at.
        """
        assert model.mark is not None
        assert model.edges is not None
        border = np.full(len(model.mark), NEVER, np.int32)
        if model.own is not None and model.step == BORDERS:
            border[np.flatnonzero(model.own >= 0)] = found
        np.minimum.at(border, model.edges[:, 0], model.mark[model.edges[:, 1]])
        return Grown(DONE, model.core, np.where(border < NEVER, border, model.mark))

    def labels(self, model: Grown) -> np.ndarray:
        """The label of each row, in the order of the source: (n,) int64."""
        assert model.mark is not None
        found = np.empty(len(model.mark), np.int64)
        found[self.tiles.order] = model.mark
        return found

    def core_rows(self, model: Grown) -> np.ndarray:
        """The numbers of the core rows: (c,) int64, increasing."""
        assert model.core is not None
        return np.sort(self.tiles.order[model.core].astype(np.int64))


def _through(root: np.ndarray, mark: np.ndarray) -> np.ndarray:
    return np.where(mark >= 0, root[mark], -1).astype(np.int32)


def radius_of(eps: float, metric: str) -> float:
    """The Euclidean distance within which rows are neighbours, of length one with "cosine"."""
    return min(math.sqrt(2 * eps) if metric == "cosine" else eps, LONGEST)


def spans(mark: np.ndarray, width: int) -> np.ndarray:
    """The least and largest mark of the rows of each leaf, a large one and -1 for none: (L, 2)."""
    leaves = -(-len(mark) // width)
    full = np.full((leaves, width), -1, np.int32)
    full.reshape(-1)[: len(mark)] = mark
    return np.stack([np.where(full >= 0, full, NEVER).min(1), full.max(1)], 1)
