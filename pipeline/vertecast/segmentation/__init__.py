"""An image in, vertebrae and cement out: a `Segmentation` on the image's own grid.

`bundle` opens weights. `ct.segmenter` and `projection.segmenter` run networks, `label_map.bodies` takes a label map in
their place, `runtimes` says what computes.
"""
