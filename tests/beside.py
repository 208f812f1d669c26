"""Where recorded traffic is kept, outside of this repository: in folders that the environment may
name."""

import os
from pathlib import Path

_SHARED = Path(__file__).resolve().parents[2] / "shared"
RECORDINGS = Path(os.environ.get("LMBROKER_RECORDINGS", _SHARED / "recordings"))
"""Real providers' traffic."""
CAPTURES = Path(os.environ.get("LMBROKER_CAPTURES", _SHARED / "clients" / "captured"))
"""What real clients sent."""
FIELD = Path(os.environ.get("LMBROKER_FIELD", _SHARED / "field"))
"""What real servers refused."""
