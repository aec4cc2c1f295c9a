"""Kernels are compiled or loaded before the first pass, those of mixtures only where asked for."""

import subprocess
import sys

import pytest

LEARN = """
import sys
import numpy as np
from numba.core.dispatcher import Dispatcher
from dclust import GaussianMixture, kernels
from dclust.kernels.gaussians import KINDS
from dclust.passes.serial import Serial


def loaded():
    parts = [m for name, m in list(sys.modules.items()) if name.startswith("dclust.kernels.")]
    parts = [f for m in parts for f in vars(m).values() if isinstance(f, Dispatcher)]
    return {(f.py_func.__qualname__, str(s)) for f in parts for s in f.signatures}


kernels.warm_up()
assert not [name for name, _ in loaded() if name in ("_bounds", "_add_squares")]
kernels.warm_up_mixtures()
before = loaded()
x = np.random.default_rng(0).integers(0, 255, (500, 4))
weights, means = np.full(3, 1 / 3), x[:3].astype(float)
for dtype in ("uint8", "float32"):
    for kind in KINDS:
        shape = {"full": (3, 4, 4), "tied": (4, 4), "diag": (3, 4), "spherical": (3,)}[kind]
        precisions = np.broadcast_to(np.eye(4) if kind in ("full", "tied") else 1.0, shape)
        given = {"weights_init": weights, "means_init": means, "precisions_init": precisions / 9}
        model = GaussianMixture(3, covariance_type=kind, tol=1e9, runner=Serial(), **given)
        model.fit(x.astype(dtype)).predict(x.astype(dtype))
print(sorted(loaded() - before))
"""


@pytest.mark.slow
def test_passes_of_mixtures_wait_for_no_kernel():
    """Whatever a fit and its labels use was there before, for rows that jobs have."""
    command = [sys.executable, "-c", LEARN]
    told = subprocess.run(command, check=False, capture_output=True, text=True)
    assert (told.returncode, told.stdout) == (0, "[]\n"), told.stdout + told.stderr
