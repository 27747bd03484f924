"""Techniques on outputs and losses."""
