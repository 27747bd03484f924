"""Many networks trained at once: stacked layers, stacked update, stacked recipes."""
