"""The Chromium of this machine, and how tests start it."""

import shutil

FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]
FLAGS += ["--disable-component-update", "--disable-sync", "--no-first-run"]
CHROMIUM = shutil.which("chromium")
