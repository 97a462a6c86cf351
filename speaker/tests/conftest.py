"""A program of a few lines, in a process of its own."""

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable

import pytest


@pytest.fixture
def run_program() -> Callable[..., Awaitable[tuple[int | None, str]]]:
    """`await run_program(text, *before)`: exit status and output of the Python `text`; `before` is a command that runs the interpreter."""

    async def run(text: str, *before: str, seconds: float = 50.0) -> tuple[int | None, str]:
        process = await asyncio.create_subprocess_exec(
            *(*before, sys.executable, "-c", text),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(each for each in sys.path if each)},
        )
        try:
            async with asyncio.timeout(seconds):
                output, _ = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        return process.returncode, output.decode()

    return run
