"""Sharpness-aware methods."""
