"""No test forgets the marker of what it does."""

import re
import socket
import subprocess
import sys

import pytest
from markers import FOLDERS, TESTS, given


@pytest.mark.process
@pytest.mark.sockets
def test_what_needs_a_marker_is_noticed(needed_markers):
    assert needed_markers == set()
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
    assert needed_markers == {"sockets"}
    needed_markers.clear()
    subprocess.run([sys.executable, "-c", ""], check=True)
    assert needed_markers == {"process"}


def test_folders_and_fixtures_give_markers():
    assert given(TESTS / "recordings" / "test_x.py", []) == {"pure", "recordings"}
    assert given(TESTS / "test_x.py", ["tmp_path", "daemon"]) == {"process", "sockets"}
    assert [folder for folder in FOLDERS if not (TESTS / folder).is_dir()] == []


def test_who_reads_recordings_says_so():
    silent = []
    for path in TESTS.rglob("test_*.py"):
        text = path.read_text()
        reads = re.search(r"^from (beside|captures) import", text, re.M)
        if reads and "recordings" not in given(path, []) and "mark.recordings" not in text:
            silent.append(path.name)
    assert silent == []
