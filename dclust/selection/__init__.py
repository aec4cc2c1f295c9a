"""Choosing between models: restarts here; the number of clusters, eps and axes later."""
