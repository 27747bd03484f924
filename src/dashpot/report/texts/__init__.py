"""Of texts: the words that count for each class, and the most confident mistakes."""
