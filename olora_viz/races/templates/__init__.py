"""Scripts that repeat a race: each runs as it is, and its settings are replaced by a race's own."""
