"""`host:port` as people write it, with IPv6 hosts in brackets."""


def split(address: str) -> tuple[str, int]:
    """Read `host:port` or `[host]:port`. Raises `ValueError` with a sentence."""
    host, colon, port = address.rpartition(":")
    if not colon or not host or not port.isdecimal() or int(port) > 65535:
        raise ValueError(f"{address!r} is not host:port")
    return host.removeprefix("[").removesuffix("]"), int(port)


def join(host: str, port: int) -> str:
    """Write `host:port`."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
