"""The page: a bank, its lineage and quarantine, and evaluation traces in a browser on this machine (`mia ui`)."""
