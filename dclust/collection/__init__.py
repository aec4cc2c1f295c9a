"""Rows on disk: the collection format, decoding and sources.

The only place with Zarr, Pillow and pyarrow. A collection is a folder of sharded Zarr
arrays cut into row groups; each group is written whole by one task, recorded by a commit,
and the seal is written last.
"""
