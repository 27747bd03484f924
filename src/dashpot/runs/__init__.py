"""Folders that a run is saved in."""
