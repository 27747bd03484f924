"""Dropout and its kin."""
