"""Callbacks of a run: curves, images, speed, further scores, and a watchdog for steps that do not end."""
