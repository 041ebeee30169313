"""Measurements: one script a table, results in `results/`."""
