"""Views of finished runs: figures, reports, plots and the theorem."""
