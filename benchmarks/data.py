"""The rows that are clustered: made once from real pictures or a seed, then kept as files.

Arrays in memory are `.npy`, float32; what is larger than memory is a Zarr array.
"""

import gzip
from functools import partial
from pathlib import Path

import numpy as np
import zarr
from PIL import Image

import dclust
from benchmarks.contender import nearest

SIDE = 32  # pixels of a patch
SEED = 20_251
MODES = 3_000  # in the mixture
ZARR_MODES = 100
ZARR_ROWS = 65_536  # of a chunk: 16 MiB of 64 columns
STREAMS = {"stream": 64, "stream-50": 50}  # columns of Zarr arrays
ASKED = 2_000  # rows of a Zarr array whose neighbours tell `eps`


class Data:
    """Where the pictures are, and where what is made of them is kept.

    Parameters
    ----------
    pictures : a folder with `fashion-mnist` and `near-duplicates` in it
    kept : a folder to write to
    """

    def __init__(self, pictures: Path, kept: Path) -> None:
        self.pictures, self.kept = pictures, kept
        kept.mkdir(parents=True, exist_ok=True)

    def rows(self, name: str, n: int) -> Path:
        """The file of so many rows: "fashion", "patches", "patches-8", "mixture", "stream"..."""
        make = {
            "fashion": self._fashion,
            "fashion-pca2": partial(self._few_columns, 2),
            "fashion-pca50": partial(self._few_columns, 50),
            "fashion-pca64": partial(self._few_columns, 64),
            "patches": partial(self._patches, SIDE),
            "mixture": mixture,
        }
        if name in STREAMS:
            return self._stream(name, n)
        path = self.kept / f"{name}-{n}.npy"
        if not path.exists():
            kind, _, side = name.partition("-")
            small = kind == "patches" and side
            x = partial(self._patches, int(side))(n) if small else make[name](n)
            _save(path, x)
        return path

    def start(self, rows: Path, k: int) -> Path:
        """Different rows of a file, k of them, drawn by a seed: where a clustering begins."""
        path = rows.with_name(f"{rows.stem}-start-{k}.npy")
        if not path.exists():
            x = np.load(rows, mmap_mode="r")
            drawn = np.random.default_rng(SEED + k).permutation(len(x))[: 4 * k]
            _, first = np.unique(x[drawn], axis=0, return_index=True)
            picks = drawn[np.sort(first)[:k]]
            if len(picks) < k:
                raise ValueError(f"{rows} has fewer than {k} different rows among {4 * k}")
            _save(path, x[picks])
        return path

    def stream_start(self, k: int) -> Path:
        """Rows like those of the Zarr arrays, but none of them."""
        path = self.kept / f"stream-start-{k}.npy"
        if not path.exists():
            _save(path, _stream_rows(k, -1))
        return path

    def eps(self, rows: Path, least: int, quantile: float) -> Path:
        """How near is dense: a quantile of the distances to the so-manieth nearest, itself counted.

        Of all rows; of those of a Zarr array, some ask, and all answer. About this share of the
        rows is core in DBSCAN; about, since it has four digits.
        """
        path = self.kept / f"{rows.stem}-eps-{least}-{quantile:g}.npy"
        if not path.exists():
            stream = rows.suffix == ".zarr"
            x = zarr.open_array(rows, mode="r") if stream else np.load(rows)
            asking = ASKED if stream else len(x)
            curve = dclust.choose_eps(x, least, sample=asking, random_state=SEED).curve
            _save(path, np.float64(f"{np.quantile(curve, quantile):.4g}"))
        return path

    def components(self, rows: Path, k: int, kind: str) -> dict[str, Path]:
        """Weights, means and precisions that a mixture begins with, in float64, and its centers.

        Those of clusters after ten iterations of Lloyd's algorithm; covariances of few rows are
        drawn towards that of all together. For a Zarr array: of rows like those in it.
        """
        stream = rows.suffix == ".zarr"
        stem = "stream" if stream else rows.stem
        names = ("start", "weights", "means", "precisions")
        found = {part: self.kept / f"{stem}-{kind}-{k}-{part}.npy" for part in names}
        if not all(path.exists() for path in found.values()):
            x = (_stream_rows(ZARR_ROWS, -1) if stream else np.load(rows)).astype(np.float64)
            at = (x[:k] if stream else np.load(self.start(rows, k))).astype(np.float64)
            for _ in range(10):
                label = nearest(x, at)
                at = np.stack([x[label == j].mean(0) if j in label else at[j] for j in range(k)])
            for path, part in zip(found.values(), _components(x, at, kind), strict=True):
                _save(path, part)
        return found

    def _fashion(self, n: int) -> np.ndarray:
        """Fashion-MNIST, the 60,000 and the 10,000: (n, 784)."""
        parts = []
        for part in ("train", "t10k"):
            path = self.pictures / "fashion-mnist" / f"{part}-images-idx3-ubyte.gz"
            bytes_ = gzip.decompress(path.read_bytes())[16:]
            parts.append(np.frombuffer(bytes_, np.uint8).reshape(-1, 784))
        return np.concatenate(parts)[:n].astype(np.float32)

    def _few_columns(self, columns: int, n: int) -> np.ndarray:
        """The same on its first principal axes."""
        x = np.load(self.rows("fashion", n)).astype(np.float64)
        x -= x.mean(0)
        _, axes = np.linalg.eigh(x.T @ x)
        return (x @ axes[:, : -columns - 1 : -1]).astype(np.float32)

    def _patches(self, side: int, n: int) -> np.ndarray:
        """Squares cut at seeded places from photographs, in a seeded order: (n, 3 side^2).

        Those with a smaller side are the upper left corners of the others.
        """
        folder = self.pictures / "near-duplicates"
        found = sorted(p for p in folder.rglob("*") if p.suffix.lower() in (".jpg", ".png"))
        random = np.random.default_rng(SEED)
        share = np.diff(np.linspace(0, n, len(found) + 1).astype(int))
        out = np.empty((n, side, side, 3), np.float32)
        places = iter(random.permutation(n))
        for path, count in zip(found, share, strict=True):
            with Image.open(path) as image:
                pixels = np.asarray(image.convert("RGB"))
            tops = random.integers(0, pixels.shape[0] - SIDE, count, endpoint=True)
            lefts = random.integers(0, pixels.shape[1] - SIDE, count, endpoint=True)
            for top, left in zip(tops, lefts, strict=True):
                out[next(places)] = pixels[top : top + side, left : left + side]
        return out.reshape(n, -1)

    def _stream(self, name: str, n: int) -> Path:
        """A mixture in a Zarr array, made and written chunk by chunk: (n, d)."""
        path, d = self.kept / f"{name}-{n}.zarr", STREAMS[name]
        if not path.exists():
            aside = path.with_suffix(".part")
            step = min(ZARR_ROWS, n // 8)
            array = zarr.create_array(
                aside, shape=(n, d), chunks=(step, d), dtype="f4", overwrite=True
            )
            for a in range(0, n, step):
                array[a : a + step] = _stream_rows(min(step, n - a), a, d)
            aside.rename(path)
        return path


def _components(x: np.ndarray, at: np.ndarray, kind: str) -> tuple[np.ndarray, ...]:
    """Centers, then weights, means and precisions of the clusters that they make."""
    label, (k, d) = nearest(x, at), at.shape
    count = np.bincount(label, minlength=k)
    means = np.stack([x[label == j].mean(0) if count[j] else at[j] for j in range(k)])
    away = x - means[label]
    squares = np.stack([away[label == j].T @ away[label == j] for j in range(k)])
    common = squares.sum(0) / len(x)
    own = (squares + d * common) / (count[:, None, None] + d)
    variances = np.diagonal(own, axis1=1, axis2=2)
    precisions = {
        "full": np.linalg.inv(own),
        "tied": np.linalg.inv(common),
        "diag": 1 / variances,
        "spherical": 1 / variances.mean(1),
    }
    return at, count / len(x), means, precisions[kind]


def _stream_rows(count: int, first: int, d: int = 64) -> np.ndarray:
    """Rows of a mixture that does not depend on which of them are asked for first."""
    spectrum = np.arange(1, d + 1, dtype=np.float32) ** -0.5
    middles = np.random.default_rng(SEED).standard_normal((ZARR_MODES, d), np.float32)
    random = np.random.default_rng([SEED, first + 2])
    noise = random.standard_normal((count, d), np.float32)
    mode = random.integers(0, ZARR_MODES, count)
    return np.asarray((2 * middles[mode] + noise) * spectrum, np.float32)


def mixture(n: int, d: int = 64) -> np.ndarray:
    """Many modes of unequal weight, columns of decaying variance: (n, d)."""
    random = np.random.default_rng(SEED)
    spectrum = np.arange(1, d + 1, dtype=np.float32) ** -0.7
    weight = random.pareto(2.0, MODES) + 0.1
    mode = random.choice(MODES, n, p=weight / weight.sum())
    middles = 3 * random.standard_normal((MODES, d), np.float32)
    x = random.standard_normal((n, d), np.float32)
    x += middles[mode]
    x *= spectrum
    return x


def _save(path: Path, x: np.ndarray) -> None:
    """Written aside, then renamed: a file that is there is whole."""
    aside = path.with_suffix(".part")
    with aside.open("wb") as file:
        np.save(file, np.ascontiguousarray(x))
    aside.rename(path)
