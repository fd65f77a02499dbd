"""Datasets: a world as a package of files that others can open, and a world made again from one (docs/datasets.md)."""
