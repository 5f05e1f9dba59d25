"""Reports of CT studies against their truth. Begin with `report.evaluate_folders`."""
