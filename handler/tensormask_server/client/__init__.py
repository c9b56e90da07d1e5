"""A client of the server: send an image, get the instances on it. It needs NumPy, and no torch.

    from tensormask_server.client import Client

    instances = Client("http://127.0.0.1:8080/tensormask/predict").predict("image.jpg")

The command `python -m tensormask_server.client IMAGE… --out DIR` does this for whole folders.
"""

from tensormask_server.client.connection import Client, Response
from tensormask_server.client.errors import (
    BadImage,
    Busy,
    ClientError,
    Lost,
    Refused,
    RequestError,
    TooLarge,
    Unreachable,
    WrongServer,
    WrongToken,
)
from tensormask_server.client.images import encode_png, image_bytes
from tensormask_server.client.options import Options

__all__ = [
    "BadImage",
    "Busy",
    "Client",
    "ClientError",
    "Lost",
    "Options",
    "Refused",
    "RequestError",
    "Response",
    "TooLarge",
    "Unreachable",
    "WrongServer",
    "WrongToken",
    "encode_png",
    "image_bytes",
]
