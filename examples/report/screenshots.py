"""Screenshots of a report as a desktop and a phone show it, with the Chromium inside Qt.

    pip install PySide6
    python examples/report/screenshots.py report.html

Writes desktop.jpg and phone.jpg beside the report. It needs no screen, but on a bare system it needs Chromium's
libraries (apt install libnss3 libegl1 libxkbcommon0 libdbus-1-3 libasound2).
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

SIZES = {"desktop": (1240, 2500), "phone": (500, 1500)}
_SETTLED = 1000  # milliseconds from loading the page to its picture, for charts and fonts
_GIVEN_UP = 60_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("report", type=Path)
    report = parser.parse_args().report.resolve()
    if not report.is_file():
        parser.error(f"{report} not found. Write it: edgekd report")
    os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
    os.environ.setdefault("QTWEBENGINE_CHROMIUM_FLAGS", "--no-sandbox --disable-gpu")
    try:
        from PySide6.QtWidgets import QApplication
    except ImportError as error:
        print(f"The screenshots stay as they are ({error}): pip install PySide6")
        return
    app = QApplication([])
    for name, size in SIZES.items():
        photograph(report, size, report.with_name(f"{name}.jpg"))
        print(report.with_name(f"{name}.jpg"), flush=True)
    app.quit()


def photograph(page: Path, size: tuple[int, int], picture: Path) -> None:
    """What a window of `size` pixels (width, height) shows of a page."""
    from PySide6.QtCore import QEventLoop, QTimer, QUrl
    from PySide6.QtWebEngineCore import QWebEngineSettings
    from PySide6.QtWebEngineWidgets import QWebEngineView

    view, waiting, limit = QWebEngineView(), QEventLoop(), QTimer(singleShot=True)
    view.settings().setAttribute(QWebEngineSettings.WebAttribute.ShowScrollBars, False)
    view.resize(*size)
    view.show()
    view.loadFinished.connect(lambda loaded: QTimer.singleShot(_SETTLED, lambda: waiting.exit(0 if loaded else 1)))
    view.load(QUrl.fromLocalFile(page))
    limit.timeout.connect(lambda: waiting.exit(1))
    limit.start(_GIVEN_UP)
    if waiting.exec() != 0 or not view.grab().save(str(picture), quality=80):
        raise SystemExit(f"{picture} could not be made")
    view.close()


if __name__ == "__main__":
    main()
