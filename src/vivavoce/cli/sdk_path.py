"""`vivavoce sdk-path`."""

import typer

from vivavoce.api.description import data_path


def sdk_path() -> None:
    """Print the folder to put in AWS_DATA_PATH.

    With it, any botocore-based client has the session operations beside the public ones, and keeps
    the service even if botocore drops it:

    export AWS_DATA_PATH=$(vivavoce sdk-path)
    """
    typer.echo(data_path())
