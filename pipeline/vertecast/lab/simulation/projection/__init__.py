"""Films: rays, detector, studies with their truth, and pictures for training."""
