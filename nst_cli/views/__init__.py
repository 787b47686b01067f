"""Looks at finished runs: figures, reports, plots and the theorem."""
