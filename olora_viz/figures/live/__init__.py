"""One chart for two homes: the JavaScript module that draws, and its wrappers."""
