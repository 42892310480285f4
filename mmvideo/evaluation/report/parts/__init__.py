"""The parts of a run's page: each module turns plain values into a piece of HTML."""
