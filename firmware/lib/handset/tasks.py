"""asyncio, whatever this MicroPython calls it."""

try:
    import asyncio
except ImportError:  # up to 1.20
    import uasyncio as asyncio

sleep_ms = asyncio.sleep_ms
create_task = asyncio.create_task
run = asyncio.run


def readable(stream):
    """Wait (with `await`) until the stream has something to read."""
    yield asyncio.core._io_queue.queue_read(stream)
