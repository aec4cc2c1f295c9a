"""One job is one folder: spec, plan, run, checkpoints, resume, publish."""

from dclust.jobs.running import resume, run
from dclust.jobs.spec import Spec, read_spec

__all__ = ["Spec", "read_spec", "resume", "run"]
