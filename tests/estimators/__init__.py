"""Tests of the scikit-learn faces."""
