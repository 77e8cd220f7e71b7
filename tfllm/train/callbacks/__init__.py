"""What watches a run: curves, pictures, speed, further scores, and whether it stands still."""
