"""`make test`: every tier in turn, one line each at the end; a tier that cannot run is named with what it lacks."""
