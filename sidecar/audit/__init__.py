"""What an outsider does with a store: verify every log of it, prove single records, report."""
