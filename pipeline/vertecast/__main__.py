"""``python -m vertecast`` is the command ``vertecast``."""

from __future__ import annotations

from vertecast.cli.main import main

if __name__ == "__main__":
    main()
