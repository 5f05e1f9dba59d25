"""What every room speaks of: anatomy, geometry, images, quantities with intervals, errors, options.

`anatomy` has the levels, `geometry` the affines, `images` what is read and what a network says of it, `results` what is
reported, `report_json` its one reader and writer. Nothing here imports another room, torch, pydicom or matplotlib.
"""
