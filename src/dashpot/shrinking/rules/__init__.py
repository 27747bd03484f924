"""What operations of torch do to units, to what is the same for all inputs, and to what is read."""
