"""Row groups: every row in exactly one, whole shards of every column, 32 MiB at most."""

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from dclust.collection.layout import CHUNK_BYTES, GROUP_BYTES, Column, Layout

MiB = 2**20
columns = st.lists(
    st.builds(
        Column,
        st.just("x"),
        st.lists(st.integers(1, 300), max_size=3).map(tuple),
        st.sampled_from(["bool", "uint8", "int32", "float32", "float64"]),
    ),
    min_size=1,
    max_size=3,
).map(lambda some: tuple(Column(f"c{i}/x", c.shape, c.dtype) for i, c in enumerate(some)))


@given(st.integers(1, 10**9), columns)
def test_groups_cover_all_rows_once_and_stay_small(rows, found):
    """Spans follow one another from 0 to n; a power of two of rows, 32 MiB or a single row."""
    layout = Layout.of(rows, found)
    size, row = layout.group_rows, max(c.row_bytes for c in found)
    assert size & (size - 1) == 0
    assert size * row <= GROUP_BYTES or size == 1
    assert layout.span(0)[0] == 0
    assert layout.span(layout.groups - 1)[1] == rows
    for group in {0, layout.groups // 2, layout.groups - 1}:
        start, stop = layout.span(group)
        assert start == group * size < stop
        assert stop == min(start + size, rows)
    # No smaller than it must be: 1 MiB, or a sixteenth of all.
    assert 2 * size * row > min(max(CHUNK_BYTES, rows * row // 16), GROUP_BYTES)


@given(st.integers(1, 10**7), columns)
def test_compressed_chunks_divide_a_group_of_any_size(group_rows, found):
    """Zarr wants chunks that divide a shard; they hold 1 MiB at most, or one row."""
    for column in found:
        chunk = column.chunk_rows(group_rows)
        assert group_rows % chunk == 0
        assert chunk * column.row_bytes <= CHUNK_BYTES or chunk == 1


@given(st.integers(1, 10**6), columns)
def test_a_layout_comes_back_from_json_and_no_two_shards_share_a_file(rows, found):
    """What the seal keeps is the whole layout; each column and group has its own file."""
    layout = Layout.of(rows, found)
    assert Layout.from_json(layout.as_json()) == layout
    groups = {0, layout.groups - 1}
    paths = {layout.shard(Path("r"), c.name, g) for c in found for g in groups}
    assert len(paths) == len(found) * len(groups)


def test_shapes_of_real_collections():
    """64 x 64 photographs, digits, wide features and pictures larger than a group."""
    for shape, rows, size in (
        ((64, 64, 3), 10**6, 2048),  # 24 MiB of 12 KiB each
        ((28, 28, 1), 70_000, 4096),  # a sixteenth is 3.3 MiB
        ((8, 8, 1), 1797, 16384),  # one group is enough
        ((4096, 4096, 3), 10, 1),  # 48 MiB: one row is the least
        ((64, 64, 3), 0, 64),
    ):
        assert Layout.of(rows, (Column("x", shape, "uint8"),)).group_rows == size
