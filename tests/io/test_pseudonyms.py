"""The secret behind a de-identified export."""

from __future__ import annotations

import stat
from datetime import date
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.uid import UID

from vertecast.core.errors import ConfigurationError
from vertecast.io.identity.pseudonyms import LONGEST_SHIFT_DAYS, Pseudonyms, load_pseudonyms

ONE, OTHER = Pseudonyms(key=b"one key of thirty-two characters"), Pseudonyms(key=b"other key of the same length ...")
DAYS = st.dates(min_value=date(1920, 1, 1))


@given(original=st.text(), further=st.text())
def test_the_same_key_gives_the_same_pseudonyms_and_another_key_others(original: str, further: str) -> None:
    again = Pseudonyms(key=ONE.key)
    assert ONE.uid(original) == again.uid(original) != OTHER.uid(original)
    assert ONE.patient_id(original) == again.patient_id(original) != OTHER.patient_id(original)
    assert UID(ONE.uid(original)).is_valid
    assert (ONE.uid(original) == ONE.uid(further)) == (original == further)


@given(first=DAYS, second=DAYS, patient=st.text())
def test_days_of_a_patient_move_into_the_past_and_keep_their_distance(first: date, second: date, patient: str) -> None:
    moved = [ONE.earlier(day, patient) for day in (first, second)]
    assert moved[1] - moved[0] == second - first
    assert 1 <= (first - moved[0]).days <= LONGEST_SHIFT_DAYS


def test_patients_are_moved_by_different_numbers_of_days() -> None:
    assert len({ONE.earlier(date(2024, 2, 29), str(patient)) for patient in range(50)}) > 40


def test_a_key_is_made_once_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "vertecast.key"
    first = load_pseudonyms(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert load_pseudonyms(path) == first != load_pseudonyms(tmp_path / "other.key")
    assert len(first.key) >= 32
    assert first.key.decode() not in repr(first)


@pytest.mark.parametrize("content", [b"", b"  \n", b"short"])
def test_what_is_no_secret_is_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_bytes(content)
    with pytest.raises(ConfigurationError, match="too short"):
        load_pseudonyms(path)


def test_a_key_that_cannot_be_made_or_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"absent.*cannot be made"):
        load_pseudonyms(tmp_path / "absent" / "key")
    with pytest.raises(ConfigurationError, match="cannot be"):
        load_pseudonyms(tmp_path)
