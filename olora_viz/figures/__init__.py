"""Numbers become Plotly figures; `live/` is the chart itself."""
