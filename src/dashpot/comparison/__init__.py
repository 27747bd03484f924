"""Techniques compared on paired splits, and reference models."""
