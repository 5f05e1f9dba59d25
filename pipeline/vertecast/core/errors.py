"""The errors of Vertecast. Each message names what was read, the cause and the remedy, and never a patient.

```
VertecastError
├── InputError            what was given cannot be analysed
│   ├── UnreadableError   a file or folder cannot be opened or decoded
│   ├── UnsupportedError  readable, but no kind of image that Vertecast measures
│   └── GeometryError     the slices do not form one volume
├── ConfigurationError    an option or a configuration file is wrong
├── BundleError           model weights are missing, altered or do not fit
├── ArchiveError          an archive cannot be reached, or does not take or give what it is asked for
└── OutputError           a result cannot be written (disk full, no permission)
```
"""

from __future__ import annotations


class VertecastError(Exception):
    """Base of every error raised on purpose."""


class InputError(VertecastError):
    """What was given cannot be analysed."""


class UnreadableError(InputError):
    """A file or folder cannot be opened or decoded."""


class UnsupportedError(InputError):
    """Readable, but no kind of image that Vertecast measures."""


class GeometryError(InputError):
    """The slices do not form one volume."""


class ConfigurationError(VertecastError):
    """An option or a configuration file is wrong."""


class BundleError(VertecastError):
    """Model weights are missing, altered or do not fit the program."""


class ArchiveError(VertecastError):
    """An archive cannot be reached, or does not take or give what it is asked for."""


class OutputError(VertecastError):
    """A result cannot be written."""
