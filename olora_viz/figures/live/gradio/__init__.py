"""The chart in Gradio: the scripts of its components."""
