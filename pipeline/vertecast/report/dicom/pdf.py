"""The printed report as an Encapsulated PDF object (PS3.3 A.45.1)."""

from __future__ import annotations

from typing import Final

from pydicom import Dataset
from pydicom.uid import EncapsulatedPDFStorage

from vertecast.report.dicom.identity import ResultObject, digest
from vertecast.report.html.printing import PrintedReport

TITLE: Final = "Vertecast spine report"


def build_pdf(printed: PrintedReport, header: Dataset) -> Dataset:
    """Wrap a PDF.

    Args:
        printed: The document. What it was printed from names the content, since a PDF of the same content may differ in
            its bytes.
        header: Data set of a source image.
    """
    result = ResultObject(header, EncapsulatedPDFStorage, "DOC", "document", instance=(1, digest(printed.html)))
    result.ConversionType = "WSD"
    result.AcquisitionDateTime = ""
    result.BurnedInAnnotation = "YES" if printed.names_patient else "NO"
    result.DocumentTitle = TITLE
    name = Dataset()
    name.CodeValue, name.CodingSchemeDesignator, name.CodeMeaning = "18748-4", "LN", "Diagnostic imaging study"
    result.ConceptNameCodeSequence = [name]
    source = Dataset()
    source.ReferencedSOPClassUID, source.ReferencedSOPInstanceUID = header.SOPClassUID, header.SOPInstanceUID
    result.SourceInstanceSequence = [source]
    result.VerificationFlag = "UNVERIFIED"
    result.MIMETypeOfEncapsulatedDocument = "application/pdf"
    result.EncapsulatedDocumentLength = len(printed.pdf)
    result.EncapsulatedDocument = printed.pdf + b"\0" * (len(printed.pdf) % 2)
    return result
