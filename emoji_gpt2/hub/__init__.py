"""Keep a run on the Hugging Face Hub."""
