"""Many processes on one machine: a supervisor, and the workers that serve."""
