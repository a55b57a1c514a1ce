"""Threads that race, measure and decide, and the records that they hold; no HTML."""
