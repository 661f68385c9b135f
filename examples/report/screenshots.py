"""Pictures of a report as a desktop and a phone show it, and as it is printed, with Chromium.

    python examples/report/screenshots.py report.html

Writes desktop.jpg and phone.jpg beside it. The browser gets a new profile and no network.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import tempfile
from pathlib import Path

from PIL import Image

FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync", "--hide-scrollbars"),
)
SIZES = {"desktop": (1240, 2500), "phone": (500, 1500)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("report", type=Path)
    report = parser.parse_args().report.resolve()
    if not report.is_file():
        parser.error(f"{report} is not there. Write it: edgekd report")
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if browser is None:
        print("No Chromium here: the screenshots stay as they are")
        return
    with tempfile.TemporaryDirectory() as folder:
        for name, (width, height) in SIZES.items():
            shot = Path(folder) / f"{name}.png"
            command = [browser, *FLAGS, f"--user-data-dir={folder}/{name}", f"--window-size={width},{height}"]
            subprocess.run(
                [*command, f"--screenshot={shot}", report.as_uri()], check=True, capture_output=True, timeout=300
            )
            with Image.open(shot) as picture:
                picture.convert("RGB").save(report.with_name(f"{name}.jpg"), quality=80, optimize=True)
            print(report.with_name(f"{name}.jpg"))


if __name__ == "__main__":
    main()
