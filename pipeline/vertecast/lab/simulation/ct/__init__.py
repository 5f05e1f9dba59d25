"""The scanner, studies with their truth, and crops for training."""
