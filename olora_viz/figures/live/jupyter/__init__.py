"""The chart in a notebook: what its page is sent, once or as it changes."""
