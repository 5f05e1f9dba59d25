"""DICOM objects that go back into the patient's study: segmentations, pictures, the report as PDF."""
