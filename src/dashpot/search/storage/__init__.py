"""The study: where trials are kept, and which workers are alive."""
