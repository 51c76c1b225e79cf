"""What flags mean, said once: strings in, typed settings out, no torch."""
