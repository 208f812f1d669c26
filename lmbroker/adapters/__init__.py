"""One apartment per dialect, all with the same floor plan: wire format <-> Unified Model."""
