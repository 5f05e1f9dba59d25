"""The plugin that runs inside Orthanc. Its folder holds nothing else: Orthanc puts the folder first on Python's search
path, where a ``queue.py`` would take the place of the standard library's, and it cannot load a script that is named
like its own module ``orthanc``."""
