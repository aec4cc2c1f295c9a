"""Memory stays below what was projected, on data larger than the workers."""

import json
import threading
import time
from pathlib import Path

import numpy as np
import psutil
import pytest

from dclust.collection.sources.idx import IdxSource
from dclust.jobs import run
from tests.jobs.conftest import job

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
ROWS = 2_000_000


@pytest.fixture(scope="module")
def large(data, tmp_path_factory):
    """Two million rows of 784 bytes: Fashion-MNIST over and over, with noise."""
    folder = tmp_path_factory.mktemp("large")
    source = IdxSource(str(data / "fashion-mnist")).prepare(folder / "spool")
    real = source.read_rows(np.arange(70_000)).reshape(-1, 784)
    dice = np.random.default_rng(0)
    rows = np.lib.format.open_memmap(folder / "rows.npy", "w+", np.uint8, (ROWS, 784))
    for start in range(0, ROWS, 50_000):
        part = real[dice.integers(70_000, size=50_000)].astype(np.int16)
        part += dice.integers(-8, 9, size=part.shape, dtype=np.int16)
        rows[start : start + 50_000] = part.clip(0, 255)
    del rows
    return folder / "rows.npy"


class Peaks:
    """The largest resident size each process below this one ever had."""

    def __init__(self):
        self.peak, self.done = {}, threading.Event()
        self.thread = threading.Thread(target=self._watch)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *exc):
        self.done.set()
        self.thread.join()

    def _watch(self):
        while not self.done.is_set():
            for child in psutil.Process().children(recursive=True):
                try:
                    if "spawn_main" not in " ".join(child.cmdline()):
                        continue
                    status = Path(f"/proc/{child.pid}/status").read_text().splitlines()
                    lines = dict(line.split(":", 1) for line in status)
                    self.peak[child.pid] = int(lines["VmHWM"].split()[0]) * 1024
                except (psutil.Error, OSError, KeyError):
                    continue  # it ended meanwhile
            time.sleep(0.2)


def test_two_million_rows_on_two_workers_of_a_gibibyte(large, tmp_path):
    """Ingest, PCA and K-means of 1.6 GB: peaks below the projection, reads as planned."""
    spec = job(
        source=str(large),
        collection=str(tmp_path / "rows.zarr"),
        reduce={"pca": {"n_components": 50}},
        cluster=[{"kmeans": {"n_clusters": 10, "max_iter": 5}}],
        where="local",
        workers=2,
        memory="1GiB",
    )
    with Peaks() as peaks:
        run(spec, tmp_path / "run")
    metrics = json.loads((tmp_path / "run" / "results" / "metrics.json").read_text())
    projected = max(s["footprint"]["peak"] for s in metrics["plan"]["steps"])
    workers = sorted(peaks.peak.values())[-2:]
    assert workers[-1] <= projected <= 2**30
    assert metrics["reads"]["reduce"] * 50 * 4 / 784 == pytest.approx(2, rel=0.1)
    assert metrics["reads"]["fit-kmeans"] == 1 + 5
    assert metrics["reads"]["label-kmeans"] == 1
    assert metrics["reads"]["measure-kmeans"] == 2  # no true classes to count
