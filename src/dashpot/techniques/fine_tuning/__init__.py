"""Techniques for networks that were trained before, one file each."""
