"""`vivavoce serve`."""

from pathlib import Path
from typing import Annotated

import typer
import uvicorn

from vivavoce.app import build_app, lay_foundation
from vivavoce.logs import start_logging
from vivavoce.settings import SETTINGS_FILE, Settings, read_settings

MAX_MESSAGE_BYTES = 1024 * 1024
"""Longest WebSocket message: over a minute of telephone audio. Longer ones close with 1009."""

_PONG_TIMEOUT_S = 120.0
"""A peer that sends faster than it is heard is made to wait, and its pong waits with its audio."""


def _settings_help() -> str:
    lines = [
        f"VIVAVOCE_{name.upper()}  {field.description}  (default: {field.get_default()})"
        for name, field in Settings.model_fields.items()
    ]
    return "\n\n".join(
        [
            "Run the server: AWS API, call audio and metrics on one port.",
            "The first start creates the data folder: database, root key, AWS credentials file.",
            f"Settings: options, then these variables, then {SETTINGS_FILE} in the data folder.",
            *lines,
        ]
    )


def serve(
    *,
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(help="Port; 0 takes a free one.")] = None,
    data_dir: Annotated[
        Path | None, typer.Option(help="Folder for database, keys and credentials.")
    ] = None,
    auth: Annotated[
        str | None, typer.Option(help="sigv4, or none for a sandbox on a loopback address.")
    ] = None,
) -> None:
    """Run the server; the help text is made from the settings, below."""
    settings = read_settings({"host": host, "port": port, "data_dir": data_dir, "auth": auth})
    start_logging(settings.log_level)
    foundation = lay_foundation(settings)
    server = uvicorn.Server(
        uvicorn.Config(
            build_app(foundation),
            host=settings.host,
            port=settings.port,
            log_config=None,
            access_log=False,
            ws="websockets-sansio",
            ws_max_size=MAX_MESSAGE_BYTES,
            ws_ping_timeout=_PONG_TIMEOUT_S,
            timeout_graceful_shutdown=round(settings.drain_s),
            server_header=False,
        )
    )
    _announce(settings)
    server.run()
    if not server.started:
        raise typer.Exit(1)


def _announce(settings: Settings) -> None:
    url = f"http://{settings.host}:{settings.port}"
    typer.echo(f"vivavoce listens on {url}", err=True)
    if settings.auth == "none":
        typer.echo("Requests are NOT authenticated: this is a sandbox.", err=True)
    else:
        typer.echo(
            "For AWS clients:\n"
            f"  export AWS_SHARED_CREDENTIALS_FILE={settings.data_dir.absolute() / 'credentials'}\n"
            f"  export AWS_ENDPOINT_URL_VOICE_ID={url}\n"
            "  export AWS_DEFAULT_REGION=us-east-1",
            err=True,
        )


serve.__doc__ = _settings_help()
