"""Files in, images in patient space out: studies found, series chosen, each accepted or refused with a reason.

Begin with `discover.find_studies`. `ct` makes a `Volume` of a series, `projection` radiographs and cines; `volumes`
reads files that are no DICOM, `identity` takes identity out of a header.
"""
