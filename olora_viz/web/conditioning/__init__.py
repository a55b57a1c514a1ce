"""The page Conditioning."""
