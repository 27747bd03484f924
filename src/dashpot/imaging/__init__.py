"""Batches of images: what is done to them, and how. Pure functions and one executor; techniques say what they want."""
