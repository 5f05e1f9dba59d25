"""What computes a network: torch on a processor or a GPU, OpenVINO, or another program that takes an exported one."""
