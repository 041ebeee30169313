"""`vivavoce serve`."""

import asyncio
import errno
import os
import signal
import socket
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer
import uvicorn

from vivavoce.app import build_app
from vivavoce.errors import PortTaken, SettingsInvalid
from vivavoce.foundation import CREDENTIALS_FILE, lay_foundation
from vivavoce.gateway.http import HttpProtocol
from vivavoce.gateway.websocket import WebSocketProtocol
from vivavoce.logs import start_logging
from vivavoce.settings import SETTINGS_FILE, Settings, read_settings

MAX_MESSAGE_BYTES = 1024 * 1024
"""Longest WebSocket message: over a minute of telephone audio. Longer ones close with 1009."""

_PONG_TIMEOUT_S = 120.0
"""A peer that sends faster than it is heard is made to wait, and its pong waits with its audio."""

_KEEP_ALIVE_S = 75
"""AWS clients keep connections for a while and are surprised by one that closes under a request."""

_LAST_WORDS_S = 3.0
"""Time for connections to be told how their calls ended, after the calls' own (`drain_s`)."""

_LAST_ANSWERS_S = 5
"""Time for requests that run at shutdown, after both."""

_SWITCH_S = 0.0005
"""How long a thread may keep the others from Python's lock, instead of 5 ms: who listens to calls
needs it a thousand times a second, for less than that."""

_BACKLOG = 2048
"""Connections that may wait to be accepted; uvicorn's own default."""


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
    # Before anything else: a second start by mistake must not touch the first one's data.
    listener = _listen(settings)
    audiosocket = _listen_for_audiosocket(settings)
    foundation = lay_foundation(settings)
    sys.setswitchinterval(_SWITCH_S)
    app = build_app(foundation, audiosocket=audiosocket)
    server = _Server(
        uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            http=HttpProtocol,
            ws=WebSocketProtocol,
            ws_max_size=MAX_MESSAGE_BYTES,
            # A mebibyte of zeros compresses to a kilobyte: one packet would unfold to hundreds of
            # megabytes before the call is asked whether it wants them. Audio gains nothing by it.
            ws_per_message_deflate=False,
            ws_ping_timeout=_PONG_TIMEOUT_S,
            timeout_keep_alive=_KEEP_ALIVE_S,
            timeout_graceful_shutdown=_LAST_ANSWERS_S,
            server_header=False,
            # Believed from anybody, they would let a client choose its own address.
            proxy_headers=settings.trusted_proxies is not None,
            forwarded_allow_ips=settings.trusted_proxies,
        ),
        drain=app.state.drain,
    )
    _announce(settings, port=listener.getsockname()[1])
    if audiosocket is not None:
        where = f"{settings.audiosocket_host} port {settings.audiosocket_port}"
        typer.echo(f"AudioSocket is served on {where}.", err=True)
    # uvicorn drains at SIGTERM and then raises it once more: that is when this ends the process.
    signal.signal(signal.SIGTERM, _leave)
    server.run(sockets=[listener])
    if not server.started:
        raise typer.Exit(1)


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, *, drain: Callable[[], Awaitable[None]]) -> None:
        super().__init__(config)
        self._drain = drain

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End the calls before their connections: uvicorn closes these without a word."""
        await self._drain()
        if self.server_state.tasks:
            await asyncio.wait(self.server_state.tasks, timeout=_LAST_WORDS_S)
        await super().shutdown(sockets)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Drain at the first signal; at a second Ctrl-C leave at once."""
        if self.should_exit and sig == signal.SIGINT:
            # What was acknowledged is in the database: this loses no more than `kill -9` does.
            os._exit(130)
        super().handle_exit(sig, frame)


def _leave(_number: int, _frame: FrameType | None) -> None:
    sys.exit(0)


def _listen(settings: Settings) -> socket.socket:
    return _listener(settings.host, settings.port, "host", "--port, or 0 for a free one")


def _listen_for_audiosocket(settings: Settings) -> socket.socket | None:
    if settings.audiosocket_port is None:
        return None
    return _listener(
        settings.audiosocket_host,
        settings.audiosocket_port,
        "audiosocket_host",
        "setting audiosocket_port",
    )


def _listener(host: str, port: int, host_setting: str, port_option: str) -> socket.socket:
    """A socket that listens; the names are for what to change if it cannot."""
    try:
        family, *_, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        # Port and host; IPv6 has two numbers more.
        return socket.create_server(address, family=family, backlog=_BACKLOG)
    except socket.gaierror as error:
        raise SettingsInvalid(
            f"setting {host_setting}: {host} is no address ({error.strerror}); use one of this "
            "machine, such as 127.0.0.1, or 0.0.0.0 for all"
        ) from error
    except OSError as error:
        if error.errno == errno.EADDRNOTAVAIL:
            raise SettingsInvalid(
                f"setting {host_setting}: {host} is no address of this machine; use 127.0.0.1, or "
                "0.0.0.0 for all"
            ) from error
        raise PortTaken(
            f"cannot listen on {host} port {port}: {error.strerror}; is another vivavoce running? "
            f"Choose another port with {port_option}"
        ) from error


def _announce(settings: Settings, *, port: int) -> None:
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    url = f"http://{host}:{port}"
    typer.echo(f"vivavoce listens on {url}", err=True)
    if settings.auth == "none":
        typer.echo("Requests are NOT authenticated: this is a sandbox.", err=True)
        return
    credentials = settings.data_dir.absolute() / CREDENTIALS_FILE
    if not credentials.exists():
        typer.echo(
            f"There is no {credentials}; a key for it is made by\n"
            f"  (umask 077; vivavoce keys create --data-dir {settings.data_dir.absolute()} "
            f"--name default > {credentials})",
            err=True,
        )
    typer.echo(
        "For AWS clients:\n"
        f"  export AWS_SHARED_CREDENTIALS_FILE={credentials}\n"
        f"  export AWS_ENDPOINT_URL_VOICE_ID={url}\n"
        "  export AWS_DEFAULT_REGION=us-east-1",
        err=True,
    )


serve.__doc__ = _settings_help()
