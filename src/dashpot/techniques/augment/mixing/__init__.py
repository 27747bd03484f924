"""Techniques that make each sample of two."""
