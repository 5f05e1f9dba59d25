"""Measuring: an image and its segmentation in; findings out, each a number with an interval or the reason for none.

Begin with `ct.study.measure_study`, `projection.study.measure_projection` or `cine.analysis`. `change` compares two
studies, `shared` holds what holds on any kind of image.
"""
