"""Numbers as text and HTML, for the page and the notebook."""
