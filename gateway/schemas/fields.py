"""Types of the fields of requests: what they allow, and the sentence that says so when a value is something else.

Numbers are strict: `true` is no number, nor is `"5"` in a JSON body, nor NaN. A query has only text, so there `"5"` is.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import AfterValidator, Field, GetCoreSchemaHandler, GetJsonSchemaHandler, StrictBool, WrapValidator
from pydantic_core import PydanticCustomError, core_schema

MAX_NAME_LENGTH = 200
MAX_TEXT_LENGTH = 10_000
MAX_SHOWN_LENGTH = 80


@dataclass(frozen=True)
class Number:
    """A number within bounds, for use as an annotation: `Annotated[int, Number(1, 16, whole=True)]`.

    Attributes:
        low: Smallest allowed value.
        high: Largest allowed value.
        whole: Whether fractions are refused; `5.0` counts as 5.
        from_text: Whether text that spells a number is one, as in a query.
    """

    low: float
    high: float
    whole: bool = False
    from_text: bool = False

    def check(self, value: Any) -> float:
        """Returns the number, or raises the error that names the bounds."""
        number = self._read(value)
        if number is None or not self.low <= number <= self.high:
            kind = "whole number" if self.whole else "number"
            bounds = {"low": f"{self.low:.10g}", "high": f"{self.high:.10g}"}
            raise PydanticCustomError("out_of_range", f"it must be a {kind} from {{low}} to {{high}}", bounds)
        return number

    def _read(self, value: Any) -> float | None:
        if self.from_text and isinstance(value, str):
            try:
                value = int(value) if self.whole else float(value)
            except ValueError:
                return None
        if isinstance(value, bool) or not isinstance(value, int | float):
            return None
        if isinstance(value, float) and (not math.isfinite(value) or (self.whole and not value.is_integer())):
            return None
        if not self.low <= value <= self.high:  # before float(), which overflows on huge integers
            return None
        return int(value) if self.whole else float(value)

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        """Makes pydantic use `check`."""
        del source, handler
        return core_schema.no_info_plain_validator_function(self.check)

    def __get_pydantic_json_schema__(self, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """Says the same in the OpenAPI document."""
        del schema, handler
        number = int if self.whole else float
        return {
            "type": "integer" if self.whole else "number",
            "minimum": number(self.low),
            "maximum": number(self.high),
        }


def _speakable(value: str) -> str:
    """Refuses text that has no UTF-8 form (a lone half of a surrogate pair), which no service could be sent."""
    try:
        value.encode()
    except UnicodeEncodeError:
        raise PydanticCustomError("bad_unicode", "it must be valid Unicode text") from None
    return value


def _text_of(limit: int) -> Callable[[str], str]:
    def check(value: str) -> str:
        if not value.strip() or len(value) > limit:
            length = f"; it has {len(value):,}" if len(value) > limit else ""
            raise PydanticCustomError("bad_length", f"it must be 1 to {limit:,} characters of text{length}")
        return value

    return check


def text_up_to(limit: int) -> AfterValidator:
    """Bounds the length of a text, which may be empty, and says so in one sentence."""

    def check(value: str) -> str:
        if len(value) > limit:
            problem = f"it must be at most {limit:,} characters of text; it has {len(value):,}"
            raise PydanticCustomError("bad_length", "{problem}", {"problem": problem})
        return value

    return AfterValidator(check)


def list_of(low: int, high: int, what: str) -> WrapValidator:
    """Bounds the length of a list before its items are looked at, and says so in one sentence."""

    def check(value: Any, handler: Callable[[Any], Any]) -> Any:
        if not isinstance(value, list) or not low <= len(value) <= high:
            found = f"; it has {len(value):,}" if isinstance(value, list) else ""
            raise PydanticCustomError("bad_length", f"it must be a list of {low} to {high} {what}{found}")
        return handler(value)

    return WrapValidator(check)


Text = Annotated[str, AfterValidator(_speakable)]
Flag = StrictBool
Speech = Annotated[
    Text, AfterValidator(_text_of(MAX_TEXT_LENGTH)), Field(json_schema_extra={"minLength": 1, "maxLength": MAX_TEXT_LENGTH})
]
Offset = Annotated[int, Number(0, 2**31 - 1, whole=True, from_text=True)]
Seed = Annotated[int, Number(0, 2**53 - 1, whole=True)]


def shown(value: Any) -> str:
    """Returns a value as a sentence may quote it: as JSON writes it, shortened, always encodable."""
    try:
        text = json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError, RecursionError):
        text = type(value).__name__
    if len(text) > MAX_SHOWN_LENGTH:
        text = f"{text[: MAX_SHOWN_LENGTH - 1]}…"
    return text.encode("utf-8", "backslashreplace").decode()
