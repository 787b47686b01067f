"""Views of finished runs: figures, scores, reports, plots and the theorem."""
