"""Data quality: which values a field may have, kept in a file, inferred from data, checked on columns."""
