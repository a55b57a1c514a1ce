"""Numbers become words and HTML, for the page and the notebook alike."""
