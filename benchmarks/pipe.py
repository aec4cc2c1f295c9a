"""A bucket behind a pipe of known width: a real S3 API, and a proxy that lets so much through."""

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from moto.server import ThreadedMotoServer
from upath import UPath

STEP = 16 * 1024  # bytes let through at a time
PROGRAM = "from benchmarks.pipe import serve; serve({width})"


class Pipe:
    """Lets through so many bytes a second in all, whoever asks."""

    def __init__(self, width: float, port: int) -> None:
        self.width, self.port = width * 1e6, port
        self.free_at = time.monotonic()

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection: requests go up unhindered, answers come down through the pipe."""
        up = await asyncio.open_connection("127.0.0.1", self.port)
        await asyncio.gather(self._copy(reader, up[1], False), self._copy(up[0], writer, True))

    async def _copy(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, slow: bool
    ) -> None:
        try:
            with suppress(ConnectionError):  # whoever asked has gone
                while data := await reader.read(STEP):
                    if slow:
                        self.free_at = max(self.free_at, time.monotonic()) + len(data) / self.width
                        await asyncio.sleep(max(self.free_at - time.monotonic(), 0))
                    writer.write(data)
                    await writer.drain()
        finally:
            writer.close()


def serve(width: float) -> None:
    """A bucket server and its pipe; prints the addresses of both, then runs until it is killed."""
    server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    server.start()
    port = server.get_host_and_port()[1]

    async def forever() -> None:
        pipe = await asyncio.start_server(Pipe(width, port).answer, "127.0.0.1", 0)
        print(port, pipe.sockets[0].getsockname()[1], flush=True)
        async with pipe:
            await pipe.serve_forever()

    asyncio.run(forever())


@contextmanager
def bucket(paths: list[Path], width: float) -> Iterator[tuple[str, int]]:
    """A bucket of these files behind a pipe of `width` MB/s: its URL, and the bytes in it."""
    os.environ |= {
        "AWS_ACCESS_KEY_ID": "bench",
        "AWS_SECRET_ACCESS_KEY": "bench",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    command = [sys.executable, "-c", PROGRAM.format(width=width)]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        assert server.stdout is not None
        near, far = server.stdout.readline().split()
        fs = UPath("s3://images", endpoint_url=f"http://127.0.0.1:{near}").fs
        fs.mkdir("images")
        for path in paths:
            fs.pipe_file(f"images/{path.name}", path.read_bytes())
        os.environ["AWS_ENDPOINT_URL"] = f"http://127.0.0.1:{far}"
        yield "s3://images", sum(p.stat().st_size for p in paths)
    finally:
        server.kill()
        server.wait()
