"""Forms with files, read as they arrive: a file of any size passes through without being kept."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fastapi import Request
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from services.runtime.errors import InvalidArgument

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

# The fields of a form, all together, are a few names; anything longer is a mistake.
_MAX_FIELD_BYTES = 64 * 1024


class NotAForm(InvalidArgument):
    """The body is no multipart form, or a broken one."""


@dataclass(frozen=True)
class Field:
    """A field that is no file.

    Attributes:
        name: Its name.
        value: Its text.
    """

    name: str
    value: str


@dataclass(frozen=True)
class FileStart:
    """A file begins; its bytes follow.

    Attributes:
        field: Name of the field it stands in.
        filename: The file's own name, as the client gives it.
    """

    field: str
    filename: str


@dataclass(frozen=True)
class FileEnd:
    """The file is complete."""


Event = Field | FileStart | bytes | FileEnd


async def read_form(request: Request) -> AsyncIterator[Event]:
    """Yields what a multipart form holds, in its order: fields whole, files as start, pieces and end.

    Raises:
        NotAForm: The body is no multipart form, or ends before the form does.
        starlette.requests.ClientDisconnect: The client hung up.
    """
    kind, options = parse_options_header(request.headers.get("content-type"))
    boundary = options.get(b"boundary")
    if kind != b"multipart/form-data" or not boundary:
        raise NotAForm("The body must be a form with files: send it as multipart/form-data.")
    parts = _Parts()
    try:
        parser = MultipartParser(boundary, parts.callbacks())
        async for data in request.stream():
            parser.write(data)
            for event in parts.take():
                yield event
        parser.finalize()
    except FormParserError as error:
        raise NotAForm("The form is malformed: send it as multipart/form-data.") from error
    if not parts.ended:
        raise NotAForm("The form ends in the middle: send it again.")


class _Parts:
    """Turns the parser's callbacks into events."""

    def __init__(self) -> None:
        self.ended = False
        self._events: list[Event] = []
        self._header = (b"", b"")
        self._disposition = b""
        self._field = ""
        self._text: bytearray | None = None  # None while in a file
        self._field_bytes = 0

    def callbacks(self) -> MultipartCallbacks:
        return {
            "on_part_begin": self._part_begins,
            "on_header_field": self._header_field,
            "on_header_value": self._header_value,
            "on_header_end": self._header_ends,
            "on_headers_finished": self._headers_end,
            "on_part_data": self._data,
            "on_part_end": self._part_ends,
            "on_end": self._form_ends,
        }

    def take(self) -> list[Event]:
        events, self._events = self._events, []
        return events

    def _part_begins(self) -> None:
        self._header, self._disposition = (b"", b""), b""

    def _header_field(self, data: bytes, start: int, end: int) -> None:
        self._header = (self._header[0] + data[start:end], self._header[1])

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._header = (self._header[0], self._header[1] + data[start:end])

    def _header_ends(self) -> None:
        if self._header[0].lower() == b"content-disposition":
            self._disposition = self._header[1]
        self._header = (b"", b"")

    def _headers_end(self) -> None:
        _, options = parse_options_header(self._disposition.decode("latin-1"))
        if b"name" not in options:
            raise NotAForm("A part of the form has no name: send it as multipart/form-data.")
        self._field = options[b"name"].decode("utf-8", "replace")
        filename = options.get(b"filename")
        self._text = bytearray() if filename is None else None
        if filename is None:
            self._count(len(self._disposition))  # as many empty fields are no better
        if filename is not None:
            self._events.append(FileStart(self._field, filename.decode("utf-8", "replace")))

    def _data(self, data: bytes, start: int, end: int) -> None:
        if self._text is None:
            self._events.append(data[start:end])
            return
        self._text += data[start:end]
        self._count(end - start)

    def _count(self, size: int) -> None:
        self._field_bytes += size
        if self._field_bytes > _MAX_FIELD_BYTES:
            raise NotAForm(f"The fields of the form, up to {self._field[:80]!r}, are too long: send files with a file name.")

    def _part_ends(self) -> None:
        ended = FileEnd() if self._text is None else Field(self._field, self._text.decode("utf-8", "replace"))
        self._events.append(ended)

    def _form_ends(self) -> None:
        self.ended = True
