"""JSON of `/training/links`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from gateway.schemas.base import Answer, Body
from gateway.schemas.fields import Text

Export = Literal["/training/checkpoints/export", "/training/dataset/export"]


class LinkRequest(Body):
    """What a link shall lead to."""

    path: Annotated[Export, Field(examples=["/training/dataset/export"])]
    """The export."""
    query: Annotated[dict[Text, Text], Field(default_factory=dict, examples=[{"folder": "datasets/my_voice"}])]
    """Its parameters; the link leads to these and no others."""


class Link(Answer):
    """A link."""

    url: Annotated[str, Field(examples=["/training/dataset/export?folder=datasets%2Fmy_voice&link=3q2-7w"])]
    """Below the server's URL; valid for an hour unless the server was set up otherwise, and no longer than the token."""
