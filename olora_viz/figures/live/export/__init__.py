"""A chart saved from the browser as a picture, a self-contained page or numbers."""
