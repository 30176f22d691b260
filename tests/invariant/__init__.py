"""What must hold however a run is interrupted."""
