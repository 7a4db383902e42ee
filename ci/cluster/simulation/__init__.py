"""A simulated cluster of trackers: see ci/cluster/simulate."""
