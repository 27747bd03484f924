"""Techniques that move pixels."""
