"""What the runs are: read from the launchers themselves, shown, and told apart."""
