"""Limits and checks of visitors' requests, on the server."""
