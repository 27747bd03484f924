"""Techniques that add noise within the network or to its gradients."""
