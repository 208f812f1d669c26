"""The Unified Model: the types that stand between the dialects. It knows no wire format."""
