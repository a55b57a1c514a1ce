"""The page Spectrum."""
