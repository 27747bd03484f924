"""The record and the figure of a search over sizes."""
