"""Techniques that add noise or erase parts."""
