"""Exports for visitors."""
