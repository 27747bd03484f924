"""Techniques on gradients."""
