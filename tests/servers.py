"""A server on this machine, for tests that download."""

import contextlib
import threading


@contextlib.contextmanager
def serving(server):
    """Run an ``http.server`` in a thread, and close it after the block.

    Parameters
    ----------
    server : http.server.HTTPServer
    """
    with server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
