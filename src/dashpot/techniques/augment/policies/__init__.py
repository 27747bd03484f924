"""Techniques that choose among operations for each image."""
