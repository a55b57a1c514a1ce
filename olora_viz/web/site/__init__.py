"""The playground as static pages: lessons, recorded races, claims and spectra, for any file host."""
