"""Lessons, glossary, formulas and recorded races."""
