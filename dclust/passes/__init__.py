"""The loop and who runs it: a model goes to every chunk, summaries come back merged.

The only place with dask and distributed.
"""
