"""Parts of a run's page: each module turns plain values into HTML."""
