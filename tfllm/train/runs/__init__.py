"""What outlives a process: runs, their checkpoints, and who writes them."""
