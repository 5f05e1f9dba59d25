"""A study as resources of HL7 FHIR R4."""
