"""Techniques on labels and losses."""
