"""The outputs: what is done in the world because of a verdict, one output a file."""
