"""A chart saved from the browser: as a picture, as a page that stands alone, as numbers."""
