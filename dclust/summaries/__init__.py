"""What a chunk can say: summaries, each a commutative monoid under `+`."""
