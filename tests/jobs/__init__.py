"""Tests of whole jobs."""
