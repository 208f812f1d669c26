"""What all dialects share: fields, names, schemas, media, reasoning, and odd shapes of them."""
