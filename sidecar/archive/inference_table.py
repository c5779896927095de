"""A DuckDB view over compacted files with the column names of Databricks inference tables.

The names and types are those of the payload table of Databricks Model Serving,
so that queries and dashboards made for one read the other.
"""

from __future__ import annotations

from sidecar.archive.compacted import COMPACTED

COLUMNS = {
    "databricks_request_id": "record_id",
    "client_request_id": "keys['client_request_id']",
    "date": "CAST(make_timestamp(t_request_us) AS DATE)",
    "timestamp_ms": "t_request_us // 1000",
    "status_code": "status",
    "sampling_fraction": "CAST(1.0 AS DOUBLE)",
    "execution_time_ms": "(t_end_us - t_request_us) // 1000",
    "request": "CASE WHEN key_commitment IS NULL THEN try(decode(request_body)) END",
    "response": "CASE WHEN key_commitment IS NULL THEN try(decode(response_body)) END",
    "request_metadata": (
        "MAP {'model_name': model, 'model_version': coalesce(image_digest, artifact_digest, 'unknown'), "
        "'endpoint_name': route}"
    ),
}
"""Column → the expression over Sidecar's columns. Bodies that are no text, or encrypted, are null."""


def view_statement(location: str, name: str = "inference_table") -> str:
    """SQL that makes the view over the store at a path or URL."""
    files = f"{location}/{COMPACTED}/*/*/*/*.parquet".replace("'", "''")
    columns = ",\n".join(f"  {expression} AS {column}" for column, expression in COLUMNS.items())
    return (
        f"CREATE OR REPLACE VIEW {name} AS\nSELECT\n{columns}\n"
        f"FROM read_parquet('{files}', hive_partitioning = false)\n"
        "WHERE kind = 'exchange';\n"
    )
