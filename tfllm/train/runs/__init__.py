"""Runs and their checkpoints, which outlive a process."""
