"""Tables and figures of a search."""
