"""The core: what a technique, a recipe and a session are."""
