"""What a backend's model can do, by the tables of model families and of hosts."""
