"""Vertebrae of a label map that the user brings in place of a network. Begin with `bodies.segment_label_map`."""
