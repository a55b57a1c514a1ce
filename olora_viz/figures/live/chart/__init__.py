"""The chart in the browser: one idea a JavaScript module, drawn with Plotly's public API."""
