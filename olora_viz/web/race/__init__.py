"""The page Race."""
