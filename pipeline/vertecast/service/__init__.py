"""Beside a PACS: studies come in, wait in a queue, are analysed, and results go back.

Begin with `service.Service`. `node` and `archives` bring studies, `queue` keeps them, `delivery` returns results, `web`
shows how it stands, `orthanc` and `mercure` plug into other programs.
"""
