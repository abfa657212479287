"""Make the README's pictures: `python docs/pictures.py kc_house_data.csv` (needs Chromium; takes a minute)."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import sync_playwright

import harness
from harness.analysis.figures import loss_curves

HARNESS = Path(sys.executable).with_name("harness")
SWEEP = ["chunksize=full,1000,100", "learning_rate=0.01,0.1", "epochs=20"]
PICTURES = Path(__file__).with_name("pictures")
MAX_BYTES = 200_000


def main(data: Path) -> None:
    """Train the README's sweep in a temporary folder; save its loss curves and its table of runs in MLflow."""
    with tempfile.TemporaryDirectory() as folder:
        train = ["train", "-m", "data=king_county", f"data.path={data.resolve()}", *SWEEP]
        subprocess.run([HARNESS, *train], cwd=folder, check=True)
        PICTURES.mkdir(exist_ok=True)
        figure = loss_curves(harness.load_sweep(uri=f"sqlite:///{folder}/mlflow.db"))
        assert figure
        figure.savefig(PICTURES / "losses.png", dpi=130)
        ui = subprocess.Popen([HARNESS, "ui"], cwd=folder, stdout=subprocess.PIPE, text=True)
        assert ui.stdout
        try:
            address = next(line.split()[-1] for line in ui.stdout if line.startswith("newest sweep's runs:"))
            photograph(address, PICTURES / "mlflow.png")
        finally:
            ui.send_signal(signal.SIGINT)
            ui.wait()
    for picture in PICTURES.glob("*.png"):
        size = picture.stat().st_size
        print(f"{picture}: {size:,} bytes{'' if size < MAX_BYTES else ' (too large)'}")


def photograph(address: str, picture: Path) -> None:
    """Save a screenshot of the table of runs, without the assistant and the banner that MLflow shows beside it."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1600, "height": 520})
        page.goto(address)
        page.locator(".ag-center-cols-container [role=row]").nth(5).wait_for(timeout=120_000)
        page.get_by_role("button", name="Close").click()
        page.get_by_role("button", name="Hide banner").click()
        page.wait_for_timeout(2000)
        page.screenshot(path=picture)
        browser.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
