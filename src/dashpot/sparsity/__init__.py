"""Paths over strengths, selected features, and a look at sparse weights."""
