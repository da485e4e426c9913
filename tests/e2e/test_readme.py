"""The commands of the README, as they stand there, against a real stack."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import httpx
import pytest

from tests.e2e.stack import Stack

ROOT = Path(__file__).parents[2]


def curl_commands() -> list[str]:
    """Every curl command of the README's shell blocks; a backslash at the end of a line continues it."""
    blocks = re.findall(r"^```bash\n(.*?)^```", (ROOT / "README.md").read_text(), re.M | re.S)
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    return [line for line in lines if line.startswith("curl ")]


@pytest.mark.timeout(900)  # it may have to make the stand-in models, and trains
@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl on this machine")
def test_the_curl_commands_work_one_after_the_other(stack: Stack, media: str, tmp_path: Path) -> None:
    (tmp_path / "recording.wav").write_bytes(httpx.get(f"{media}/voice-2.wav").content)
    answers = {}
    for command in curl_commands():
        ours = command.replace("localhost:8000", f"127.0.0.1:{stack.port}")
        ours = ours.replace("https://youtube.com/watch?v=VIDEO_ID", f"{media}/voice-1.wav")
        done = subprocess.run(
            ["sh", "-c", f"{ours} --silent --show-error --fail-with-body"],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
        answer = json.loads(done.stdout)
        if isinstance(answer, dict) and "job_id" in answer:
            stack.done(answer["job_id"], seconds=600)
        answers[re.split(r"[?'\s]", command.partition("localhost:8000")[2])[0]] = answer

    assert answers["/training/dataset/stats"]["transcribed_percent"] == 100.0
    assert answers["/training/status"]["state"] == "completed"
    assert answers["/training/checkpoints"][0]["path"] == answers["/training/checkpoints/load"]["checkpoint"]
    assert httpx.get(f"http://127.0.0.1:{stack.port}{answers['/training/inference/synthesize']['audio_url']}").is_success
    assert 0 <= answers["/training/inference/ab-test"]["similarity"] <= 100
