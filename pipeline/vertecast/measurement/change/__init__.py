"""What changed between two studies of a patient. Begin with `study`."""
