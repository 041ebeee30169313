"""The glue between sockets and protocols."""
