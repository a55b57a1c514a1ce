"""The chart in the browser: one idea per JavaScript module, drawn with Plotly's public API."""
