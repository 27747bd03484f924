"""Texts: columns and files of them, and what a network takes."""
