"""Techniques on texts."""
