"""Tables: what columns hold, and from raw columns to what a network takes."""
