"""Images: files, pixels, and what a network takes of them."""
