"""The service over real HTTP, with the small profile's encoders."""

import asyncio
import socket
import threading
from collections.abc import Sequence

import pytest
import torch
import uvicorn

from services.embedding.app import create_app
from shared.settings import EncoderSettings, ImageSettings, ServiceUrls, Settings


class Serving:
    """A uvicorn server in a thread, on a port of its own."""

    def __init__(self, app):
        self.app = app
        self._socket = socket.socket()
        self._socket.bind(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        self._server = uvicorn.Server(uvicorn.Config(app, log_config=None))
        self._thread = threading.Thread(target=self._run)

    def _run(self):
        asyncio.run(self._server.serve(sockets=[self._socket]))

    def __enter__(self):
        self._thread.start()
        while not self._server.started:
            assert self._thread.is_alive(), "the server did not start"
            self._thread.join(0.05)
        return self

    def __exit__(self, *_):
        self._server.should_exit = True
        self._thread.join()


class GatedText:
    """Encodes a text as its length; waits at a gate, and remembers its batches."""

    dimension = 2
    revision = "gated-1"

    def __init__(self):
        self.gate = threading.Event()
        self.batches = []

    def encode(self, texts: Sequence[str]) -> torch.Tensor:
        self.batches.append(list(texts))
        assert self.gate.wait(30)
        return torch.tensor([[float(len(text)), 0.0] for text in texts])


class FlatImage:
    """Encodes an image as its mean colour."""

    dimension = 3
    revision = "flat-1"

    def prepare(self, image):
        return torch.tensor(image.resize((1, 1)).getpixel((0, 0)))

    def encode_prepared(self, pixels):
        return torch.stack(list(pixels)).float()


@pytest.fixture(scope="session")
def service():
    """MiniLM and EfficientNet; private hosts are allowed, as the tests' images are local."""
    settings = Settings(images=ImageSettings(allow_private_hosts=True, max_bytes=200_000))
    with Serving(create_app(settings)) as serving:
        yield serving


@pytest.fixture
def gated(monkeypatch):
    """A service whose text encoder waits until the test lets it go."""
    text = GatedText()
    module = "services.embedding.encoding"
    monkeypatch.setattr(f"{module}.load_text_encoder", lambda source, device: text)
    monkeypatch.setattr(f"{module}.load_image_encoder", lambda source, device: FlatImage())
    settings = Settings(encoders=EncoderSettings(queue_size=12, max_wait_ms=0))
    with Serving(create_app(settings)) as serving:
        serving.text = text
        yield serving
        text.gate.set()


@pytest.fixture
def urls_of():
    return lambda serving: ServiceUrls(embedding=serving.url, timeout_s=60)
