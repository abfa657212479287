"""Make the README's pictures: `python docs/pictures.py kc_house_data.csv` (needs Chromium; a minute)."""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import sync_playwright

HARNESS = Path(sys.executable).with_name("harness")
SWEEP = ["chunksize=full,1000,100", "learning_rate=0.01,0.1", "epochs=20"]
PICTURES = Path(__file__).with_name("pictures")
MOST_BYTES = 200_000


def main(data: Path) -> None:
    """Train the README's sweep in a folder of its own, and keep its figure and a view of it in MLflow."""
    with tempfile.TemporaryDirectory() as folder:
        train = ["train", "-m", "data=king_county", f"data.path={data.resolve()}", *SWEEP]
        subprocess.run([HARNESS, *train], cwd=folder, check=True)
        subprocess.run([HARNESS, "report", "--output", "report"], cwd=folder, check=True)
        PICTURES.mkdir(exist_ok=True)
        shutil.copy(Path(folder, "report", "losses.png"), PICTURES / "losses.png")
        ui = subprocess.Popen([HARNESS, "ui"], cwd=folder, stdout=subprocess.PIPE, text=True)
        try:
            said = ""
            while not (found := re.search(r"(http\S+viewStateShareKey=\S+)$", said.strip())):
                said = ui.stdout.readline() if ui.stdout else ""
            photograph(found[1], PICTURES / "mlflow.png")
        finally:
            ui.send_signal(signal.SIGINT)
            ui.wait()
    for picture in PICTURES.glob("*.png"):
        size = picture.stat().st_size
        print(f"{picture}: {size:,} bytes{'' if size < MOST_BYTES else ', which is too large'}")


def photograph(address: str, picture: Path) -> None:
    """Save what a browser window of 1,280 by 600 pixels shows of the table of runs."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1280, "height": 600})
        page.goto(address)
        page.locator(".ag-center-cols-container [role=row]").nth(5).wait_for(timeout=120_000)
        page.wait_for_timeout(2000)
        page.screenshot(path=picture)
        browser.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
