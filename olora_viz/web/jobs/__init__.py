"""Races and measurements that run in the background of the server."""
