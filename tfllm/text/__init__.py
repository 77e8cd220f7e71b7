"""Text in the graph: words, their character offsets, and writing systems; shared by training data and prediction."""
