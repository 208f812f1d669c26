"""The common part of all dialects: fields, names, schemas, media, reasoning, odd shapes."""
