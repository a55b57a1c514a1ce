"""Guides that drive the page, step by step."""
