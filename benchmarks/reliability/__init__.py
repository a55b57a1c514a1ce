"""Campaigns against the promises that a server and a run folder make; see docs/RELIABILITY.md."""
