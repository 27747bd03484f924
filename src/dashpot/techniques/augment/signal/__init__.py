"""Techniques that change signals."""
