"""Set-ups as links."""
