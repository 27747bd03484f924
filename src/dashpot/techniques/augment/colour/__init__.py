"""Techniques that change the colours and the sharpness of images."""
