"""What must hold on any number of processes."""
