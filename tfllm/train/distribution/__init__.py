"""Distributed training: several devices or workers, parameter servers, weights split over a mesh."""
