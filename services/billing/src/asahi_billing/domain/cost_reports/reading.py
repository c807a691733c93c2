"""Reads a cost report piece by piece: tells whose it is, and never holds more than a day of its text."""

import codecs
import csv
from collections.abc import Mapping
from typing import Any, Protocol

import ijson

from asahi.billing.v1.reconciliation_pb2 import ReportFormat
from asahi_billing.domain.cost_reports import anthropic, openai
from asahi_billing.domain.cost_reports.charges import Charges
from asahi_billing.domain.cost_reports.nesting import Nesting
from asahi_core.errors import InvalidRequest, RequestTooLarge

MOST_BYTES = 256 * 1024 * 1024
MOST_BYTES_OF_A_DAY = 32 * 1024 * 1024
_LONGEST_LINE = 64 * 1024
_BOM = b"\xef\xbb\xbf"


class _Reader(Protocol):
    def feed(self, piece: bytes) -> None: ...

    def finish(self) -> None: ...


class ReportReading:
    """A report under way: `feed` it, `finish` it, then look at `charges`. Each may take a while: not for a loop."""

    def __init__(self) -> None:
        self.charges = Charges()
        self._reader: _Reader | None = None
        self._begun = b""
        self._bytes = 0

    def feed(self, piece: bytes) -> None:
        """Takes the next bytes of the file.

        Raises:
            InvalidRequest: it is no cost report that is known.
            RequestTooLarge: it goes on for too long.
        """
        self._bytes += len(piece)
        if self._bytes > MOST_BYTES:
            raise RequestTooLarge(f"The report has more than {MOST_BYTES} bytes; import fewer days at once.")
        if self._reader is None:
            self._begun = (self._begun + piece).removeprefix(_BOM).lstrip()
            if not self._begun:
                return
            first = self._begun[:1]
            is_json = first in (b"{", b"[")
            prefix = "data.item" if first == b"{" else "item.data.item"
            self._reader = _JsonReader(self.charges, prefix) if is_json else _CsvReader(self.charges)
            piece, self._begun = self._begun, b""
        self._reader.feed(piece)

    def finish(self) -> Charges:
        """What the whole file says.

        Raises:
            InvalidRequest: it ends too early, or covers no day.
        """
        if self._reader is None:
            raise InvalidRequest("The report is empty.")
        self._reader.finish()
        if not self.charges.days:
            raise InvalidRequest("The report covers no day: it has no bucket, or no row.")
        return self.charges


class _JsonReader:
    """Pages of JSON, one after the other or in a list, bucket by bucket."""

    def __init__(self, charges: Charges, prefix: str) -> None:
        self._charges = charges
        self._found: list[Any] = ijson.sendable_list()
        self._parser = ijson.items_coro(self._found, prefix, multiple_values=True)
        self._nesting = Nesting()
        self._number = 0
        self._since_a_bucket = 0

    def feed(self, piece: bytes) -> None:
        self._nesting.feed(piece)
        try:
            self._parser.send(piece)
        except (ijson.JSONError, StopIteration) as error:
            raise InvalidRequest(f"The report is not valid JSON: {_first_line(error)}.") from error
        self._take()
        self._since_a_bucket = 0 if self._found else self._since_a_bucket + len(piece)
        del self._found[:]
        if self._since_a_bucket > MOST_BYTES_OF_A_DAY:
            raise InvalidRequest(f"The report has more than {MOST_BYTES_OF_A_DAY} bytes without the end of a day.")

    def finish(self) -> None:
        try:
            self._parser.close()
        except (ijson.JSONError, StopIteration) as error:
            raise InvalidRequest(f"The report ends too early: {_first_line(error)}.") from error
        self._take()
        del self._found[:]

    def _take(self) -> None:
        for bucket in self._found:
            if not isinstance(bucket, dict):
                raise InvalidRequest(f"data[{self._number}] is no bucket.", param=f"data[{self._number}]")
            self._format(bucket)
            self._number += 1

    def _format(self, bucket: Mapping[str, object]) -> None:
        of_anthropic = "starting_at" in bucket
        told = ReportFormat.REPORT_FORMAT_ANTHROPIC if of_anthropic else ReportFormat.REPORT_FORMAT_OPENAI
        if self._charges.format not in (ReportFormat.REPORT_FORMAT_UNSPECIFIED, told):
            raise InvalidRequest(f"data[{self._number}] has another shape than those before it.")
        self._charges.format = told
        (anthropic if of_anthropic else openai).add_bucket(self._charges, bucket, self._number)


class _CsvReader:
    """Rows of OpenAI's export, line by line."""

    def __init__(self, charges: Charges) -> None:
        self._charges = charges
        self._decoder = codecs.getincrementaldecoder("utf-8")()
        self._rest = ""
        self._names: list[str] | None = None
        self._line = 0

    def feed(self, piece: bytes) -> None:
        self._read(self._rest + self._decode(piece, final=False))

    def finish(self) -> None:
        self._read(self._rest + self._decode(b"", final=True) + "\n")

    def _decode(self, piece: bytes, *, final: bool) -> str:
        try:
            return self._decoder.decode(piece, final)
        except UnicodeDecodeError as error:
            message = "The report is neither JSON nor CSV in UTF-8."
            raise InvalidRequest(message) from error

    def _read(self, text: str) -> None:
        whole, _, self._rest = text.rpartition("\n")
        if len(self._rest) > _LONGEST_LINE:
            raise InvalidRequest(f"Line {self._line + 1} has more than {_LONGEST_LINE} characters.")
        try:
            for cells in csv.reader(whole.splitlines(), strict=True):
                self._line += 1
                if cells:
                    self._take(cells)
        except csv.Error as error:
            raise InvalidRequest(f"Line {self._line + 1} is not CSV: {error}.") from error

    def _take(self, cells: list[str]) -> None:
        if self._names is None:
            self._names = [cell.strip() for cell in cells]
            if any(name not in self._names for name in openai.COLUMNS):
                raise InvalidRequest(
                    "The report is neither JSON nor OpenAI's CSV of costs: its first line has no column amount_value."
                )
            self._charges.format = ReportFormat.REPORT_FORMAT_OPENAI
            return
        if len(cells) != len(self._names):
            raise InvalidRequest(f"Line {self._line} has {len(cells)} cells; the first line has {len(self._names)}.")
        openai.add_row(self._charges, dict(zip(self._names, cells, strict=True)), self._line)


def _first_line(error: BaseException) -> str:
    return str(error).strip().splitlines()[0][:120] if str(error).strip() else "it is cut off"
