"""Tests; they mirror dclust/."""
