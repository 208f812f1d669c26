"""The Unified Model: the one language between dialects. It knows no wire format."""
