"""What a backend's model can do: ``profile`` gives it, from the tables of ``families`` of models
and of ``hosts``."""
