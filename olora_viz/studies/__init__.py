"""Comparisons over learning rates and seeds, and the conclusions they support."""
