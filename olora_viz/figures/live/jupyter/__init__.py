"""The chart in a notebook: the messages to its front end."""
