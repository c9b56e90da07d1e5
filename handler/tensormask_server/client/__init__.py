"""A client of the server: send an image, get what was found on it. It needs NumPy, and no torch.

    from tensormask_server.client import Client

    found = Client("http://127.0.0.1:8080/predictions/tensormask").predict("image.jpg")

The command `python -m tensormask_server.client IMAGE… --out DIR` does this for whole folders.
"""

from tensormask_server.client.connection import Answer, Client
from tensormask_server.client.errors import (
    BadImage,
    Busy,
    ClientError,
    Lost,
    NoAnswer,
    Refused,
    TooLarge,
    Unreachable,
    WrongServer,
    WrongToken,
)
from tensormask_server.client.images import encode_png, image_bytes
from tensormask_server.client.options import Options

__all__ = [
    "Answer",
    "BadImage",
    "Busy",
    "Client",
    "ClientError",
    "Lost",
    "NoAnswer",
    "Options",
    "Refused",
    "TooLarge",
    "Unreachable",
    "WrongServer",
    "WrongToken",
    "encode_png",
    "image_bytes",
]
