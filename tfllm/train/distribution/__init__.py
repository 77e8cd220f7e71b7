"""Where a model trains: one device or several, several workers, parameter servers, weights split over a mesh."""
