"""Self-contained HTML reports of worlds and of experiments (docs/plots.md)."""
