"""Archives that the service asks for studies and gives results to: DICOMweb and Orthanc."""
