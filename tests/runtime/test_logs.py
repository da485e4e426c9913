"""What a process writes into its log, and what it keeps out of it."""

from __future__ import annotations

import subprocess
import sys

CODE = """
import logging
import urllib3
from services.runtime.logs import set_up_logging
from services.runtime.settings import RuntimeSettings
set_up_logging(RuntimeSettings())
logging.getLogger("services").warning("said")
retries = urllib3.Retry(1, backoff_factor=0)
try:
    urllib3.PoolManager(retries=retries).request("GET", "http://127.0.0.1:9/key?X-Amz-Signature=sealed")
except urllib3.exceptions.MaxRetryError:
    pass
"""


def test_a_signed_address_that_is_asked_for_again_is_not_shown() -> None:
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True)
    assert "said" in done.stdout
    assert "sealed" not in done.stdout + done.stderr
