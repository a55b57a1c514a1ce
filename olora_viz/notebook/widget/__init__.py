"""The front end of the panels: one module, bundled with that of the charts."""
