"""What is true and what was found, read from the folders that people keep them in.

`studies`: what ``simulate`` and ``analyze`` write. `maps`: label maps of VerSe/BIDS, TotalSegmentator, nnU-Net, DICOM
SEG, or plain files. `corners`: corners of bodies on films, as COCO or as our own JSON.
"""

from vertecast.lab.evaluation.datasets.files import read_labels
from vertecast.lab.evaluation.datasets.studies import (
    PLACES,
    REPORT_NAME,
    RUN_NAME,
    FoundBody,
    FoundLeak,
    FoundStudy,
    TrueBody,
    TrueLeak,
    TrueStudy,
    is_truth_of_studies,
    read_found,
    read_truth,
)

__all__ = [
    "PLACES",
    "REPORT_NAME",
    "RUN_NAME",
    "FoundBody",
    "FoundLeak",
    "FoundStudy",
    "TrueBody",
    "TrueLeak",
    "TrueStudy",
    "is_truth_of_studies",
    "read_found",
    "read_labels",
    "read_truth",
]
