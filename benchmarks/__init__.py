"""Benchmarks: ours and the plainest alternative side by side, in one run."""
