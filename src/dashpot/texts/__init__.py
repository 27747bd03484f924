"""Texts as data: tokens with the space between them, what is protected, tables of words. No torch for strings."""
