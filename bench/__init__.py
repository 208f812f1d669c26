"""How fast the broker is, and where its time goes. See README.md beside this file."""
