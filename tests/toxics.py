"""A bad network on purpose: a TCP proxy between the program and a server that it depends on."""

import selectors
import socket
import struct
import threading
import time

PIECE = 16 * 1024
# SO_LINGER with a time of zero: closing sends a reset.
RESET = struct.pack("ii", 1, 0)


class Proxy:
    """Passes on to `upstream` until it is told to do otherwise; open connections follow.

    `toxic` is one of None, ("latency", seconds), ("throttle", bytes_per_second), "reset", "refuse", "black_hole", and
    ("cut", bytes): every connection breaks after so many bytes from the server.
    """

    def __init__(self, upstream):
        self.upstream, self.toxic, self.open = upstream, None, set()
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.port = self.listener.getsockname()[1]
        self.stopped = False
        threading.Thread(target=self._accept, daemon=True).start()

    def set(self, toxic):
        self.toxic = toxic
        if toxic in ("reset", "refuse"):
            for connection in list(self.open):
                self._reset(connection)

    def close(self):
        self.stopped = True
        self.set("reset")
        self.listener.close()

    def _accept(self):
        while not self.stopped:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            if self.toxic in ("reset", "refuse"):
                self._reset(client)
                continue
            threading.Thread(target=self._carry, args=(client,), daemon=True).start()

    def _carry(self, client):
        try:
            server = socket.create_connection(self.upstream, timeout=10)
        except OSError:
            self._reset(client)
            return
        for end in (client, server):
            end.settimeout(None)
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.open.add(end)
        selector = selectors.DefaultSelector()
        selector.register(client, selectors.EVENT_READ, server)
        selector.register(server, selectors.EVENT_READ, client)
        back = 0
        try:
            while selector.get_map():
                if self.toxic == "black_hole":
                    time.sleep(0.02)
                    continue
                for key, _ in selector.select(timeout=0.1):
                    piece = key.fileobj.recv(PIECE)
                    if not piece:
                        selector.unregister(key.fileobj)
                        key.data.shutdown(socket.SHUT_WR)
                        continue
                    # TCP loses nothing within a connection: what was on its way arrives when the fault is over.
                    while self.toxic == "black_hole":
                        time.sleep(0.02)
                    toxic = self.toxic
                    if isinstance(toxic, tuple) and toxic[0] == "latency":
                        time.sleep(toxic[1])
                    if isinstance(toxic, tuple) and toxic[0] == "throttle":
                        time.sleep(len(piece) / toxic[1])
                    if isinstance(toxic, tuple) and toxic[0] == "cut" and key.fileobj is server:
                        back += len(piece)
                        if back >= toxic[1]:
                            return
                    key.data.sendall(piece)
        except (OSError, ValueError):
            pass
        finally:
            for end in (client, server):
                self.open.discard(end)
                self._reset(end)

    @staticmethod
    def _reset(connection):
        try:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            connection.close()
        except OSError:
            pass
