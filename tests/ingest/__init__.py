"""Tests of how a source becomes a collection, and images become rows of numbers."""
