"""One `StudyReport` in, every file of its folder out; each appears complete or not at all.

Begin with `outputs.write_study`. `wording` has the sentences, `html` the pages, `figures` the pictures, `dicom` the
objects that go back into the study, `fhir` the resources.
"""
