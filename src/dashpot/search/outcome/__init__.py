"""What a search ends with."""
