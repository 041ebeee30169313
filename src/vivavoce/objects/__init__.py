"""Objects by `s3://` names: in a folder, or behind any S3 API."""
