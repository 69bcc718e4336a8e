"""Where the ranks of a trial on several nodes meet. Does not import torch."""

from __future__ import annotations

import contextlib
import socket
import struct
from dataclasses import dataclass

_SIOCGIFADDR = 0x8915  # of Linux: the address of an interface


@dataclass(frozen=True)
class Network:
    """Ranks on several nodes meet at `address` (HOST:PORT), where the first one has the socket `listener`.

    `own_address` is the IP address of this node, as the other nodes reach it.
    """

    address: str
    own_address: str
    listener: socket.socket | None = None

    @classmethod
    def listen(cls, own_address: str) -> Network:
        """Return a network whose first rank is on this node, at a free port."""
        family = socket.AF_INET6 if ":" in own_address else socket.AF_INET
        listener = socket.create_server((own_address, 0), family=family)
        return cls(f"{own_address}:{listener.getsockname()[1]}", own_address, listener)

    def interface(self) -> str:
        """Return the name of the interface with this node's IPv4 address; "" if it is not known."""
        try:
            import fcntl  # not on Windows
        except ImportError:
            return ""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
            for _, name in socket.if_nameindex():
                with contextlib.suppress(OSError):  # an interface without address
                    request = struct.pack("256s", name.encode()[:15])
                    answer = fcntl.ioctl(any_socket, _SIOCGIFADDR, request)
                    if socket.inet_ntoa(answer[20:24]) == self.own_address:
                        return name
        return ""
