"""From a launcher's facts to a finished run: profile, checks, run folder, process, record."""
