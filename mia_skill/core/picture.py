"""An image as it passes between the rooms: its bytes and what they are. Nothing is decoded here."""

from base64 import b64decode, b64encode
from binascii import Error as Base64Error

from pydantic import ConfigDict, Field

from mia_skill.core.errors import InputError
from mia_skill.core.types import Value

__all__ = ["MOST_BYTES", "Picture", "from_data_url", "picture_of"]

MOST_BYTES = 10_000_000
MAGIC = (
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
)


class Picture(Value):
    """An image file."""

    model_config = ConfigDict(ser_json_bytes="base64", val_json_bytes="base64")

    media_type: str
    data: bytes = Field(max_length=MOST_BYTES, repr=False)

    @property
    def data_url(self) -> str:
        """As chat endpoints take it."""
        return f"data:{self.media_type};base64,{b64encode(self.data).decode()}"


def picture_of(data: bytes) -> Picture:
    """The image in some bytes; its own mark says what it is.

    Raises:
        InputError: it is no JPEG, PNG, GIF or WebP, or larger than 10 MB.
    """
    if len(data) > MOST_BYTES:
        raise InputError(f"the image has {len(data)} bytes: use one of at most {MOST_BYTES}")
    kind = next((kind for mark, kind in MAGIC if data.startswith(mark)), None)
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        kind = "image/webp"
    if kind is None:
        raise InputError("this is no image that can be used: give a JPEG, PNG, GIF or WebP")
    return Picture(media_type=kind, data=data)


def from_data_url(text: str) -> Picture:
    """The image in a `data:` address.

    Raises:
        InputError: it is none.
    """
    head, comma, body = text.partition(",")
    if not (comma and head.startswith("data:") and head.endswith(";base64")):
        raise InputError("an image in the text must be a data: address with base64")
    try:
        return picture_of(b64decode(body, validate=True))
    except Base64Error:
        raise InputError("the base64 of the image is damaged") from None
