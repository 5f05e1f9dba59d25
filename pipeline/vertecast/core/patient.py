"""Whose study it is: for the pages that an operator asks to name the patient, and for nothing else."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Patient:
    """The patient of a study. No part of a report, which is for everyone.

    Attributes:
        name: Family name first: "Doe, Joanna".
        patient_id: As the archive knows it.
        birth_date: ISO 8601.
    """

    name: str
    patient_id: str
    birth_date: str

    @property
    def line(self) -> str:
        """All of it in one line; what the header leaves empty is said to be unknown."""
        name, patient_id, birth_date = (text or "unknown" for text in (self.name, self.patient_id, self.birth_date))
        return f"Patient: {name} · ID: {patient_id} · born: {birth_date}"
