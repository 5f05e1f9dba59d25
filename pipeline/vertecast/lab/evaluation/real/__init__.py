"""Real images scored beside the simulated ones. Begin with `images`."""
