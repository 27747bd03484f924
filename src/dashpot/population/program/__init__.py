"""The C++ program for stacks of known layers."""
