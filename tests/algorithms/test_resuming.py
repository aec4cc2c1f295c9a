"""A fit that goes on from any pass's model ends with the bits it would have had."""

import pytest

from dclust.algorithms.components import Estimate
from dclust.algorithms.kmeans import Centers
from dclust.algorithms.minibatch import Drift
from dclust.algorithms.mixture import Mixture
from dclust.algorithms.stepwise import Path, Walk
from dclust.algorithms.variational import Posterior, Prior
from dclust.collection.records import load_record, save_record
from dclust.kernels.projection import Projection
from dclust.passes.loop import fit
from dclust.passes.serial import Serial
from dclust.passes.threads import Threads
from dclust.summaries.clusters import Moments, Tally
from dclust.summaries.grid import Grid
from tests.learning import CASES, bits

KINDS = (Centers, Drift, Grid, Mixture, Moments, Posterior, Prior, Projection, Tally)
KINDS += (Estimate, Path, Walk)

SAVED = ("EM", "Lloyd", "MiniBatch", "Stepwise", "Variational")


def learned(name, held, model=None):
    """The last model, and the models of all passes before it."""
    case, passed = CASES[name], []
    source, runner = case.source(), Threads(2) if held else Serial()
    if held:
        runner.hold(source.chunks)
    return fit(case.make(source), source, runner, model, passed.append), passed


@pytest.mark.parametrize("name", CASES)
def test_resuming_from_any_pass_changes_no_bit(name):
    """From the model after each pass, without any scratch, the rest is the same."""
    last, passed = learned(name, held=True)
    assert bits(passed[-1]) == bits(last)
    for i, model in enumerate(passed):
        again, rest = learned(name, i % 2 == 0, model)
        assert bits(again) == bits(last)
        assert len(rest) == len(passed) - i - 1


@pytest.mark.parametrize("name", [n for n in CASES if n.startswith(SAVED)])
def test_resuming_from_a_checkpoint_changes_no_bit(name, tmp_path):
    """The same from models that were written to disk and read again."""
    last, passed = learned(name, held=False)
    for i, model in enumerate(passed):
        save_record(tmp_path / f"{i}.safetensors", model)
        again = load_record(tmp_path / f"{i}.safetensors", KINDS)
        assert bits(again) == bits(model)
        assert bits(learned(name, False, again)[0]) == bits(last)


def test_lloyd_was_stopped_amid_a_relocation_too():
    """The cases above do include a model that waits for rows to refill its empty clusters."""
    _, passed = learned("Lloyd", held=False)
    assert passed[0].lost is not None
    assert passed[1].lost is None
    assert (passed[1].weight > 0).all()
