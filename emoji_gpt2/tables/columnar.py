"""Tables whose columns are typed: Parquet, a DataFrame, an Excel sheet."""

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emoji_gpt2.errors import UserError, one_line
from emoji_gpt2.files import PATH
from emoji_gpt2.tables.delimited import Row
from emoji_gpt2.tables.shapes import as_text

if TYPE_CHECKING:
    import pandas as pd

ROWS = 16_384  # records read at once


class FrameTable:
    """A DataFrame; missing values are ""."""

    unit = "row"
    has_header = True
    what = "in memory"

    def __init__(self, frame: "pd.DataFrame") -> None:
        self.frame = frame
        self.names = list(map(str, frame.columns))

    def rows(self) -> Iterator[Row]:
        """Yield the records, their values as text."""
        for start in range(0, len(self.frame), ROWS):
            part = self.frame.iloc[start : start + ROWS].astype(object)
            part = part.where(part.notna(), None)
            columns = [part.iloc[:, i].map(as_text).tolist() for i in range(len(self.names))]
            for number, cells in enumerate(zip(*columns, strict=True), start + 1):
                yield number, list(cells)


def excel_table(path: Path) -> FrameTable:
    """Return the first sheet of an Excel workbook, which needs openpyxl."""
    import pandas as pd  # noqa: PLC0415 - slow, and rarely needed

    try:
        return FrameTable(pd.read_excel(path, dtype=str, keep_default_na=False))
    except ImportError:
        got = f"the Excel workbook {str(path)!r}"
        remedy = "save it as CSV (UTF-8), or pip install openpyxl"
        raise UserError(PATH, got, "a table of text", remedy) from None


class ParquetTable:
    """A Parquet file, read in parts; pyarrow is an extra of this package.

    Class labels of the Hugging Face library datasets are read as their names.
    """

    unit = "row"
    has_header = True
    what = "Parquet"

    def __init__(self, path: Path) -> None:
        self.path = path
        with self._open() as file:
            schema = file.schema_arrow
            kinds = {name: str(schema.field(name).type) for name in schema.names}
            metadata = (schema.metadata or {}).get(b"huggingface", b"{}")
        self.names = [  # no pictures, no vectors of numbers
            name
            for name, kind in kinds.items()
            if "binary" not in kind and ("<" not in kind or "string" in kind)
        ]
        features = json.loads(metadata).get("info", {}).get("features", {})
        self._classes = {
            name: dict(enumerate(feature["names"]))
            for name, feature in features.items()
            if isinstance(feature, dict) and isinstance(feature.get("names"), list)
        }

    def rows(self) -> Iterator[Row]:
        """Yield the records, their values as text; lists of texts are joined."""
        before = 0
        with self._open() as file:
            for batch in file.iter_batches(batch_size=ROWS, columns=self.names):
                values = (column.to_pylist() for column in batch.columns)
                columns = map(self._texts, self.names, values)
                for number, cells in enumerate(zip(*columns, strict=True), before + 1):
                    yield number, list(cells)
                before += batch.num_rows

    def _texts(self, name: str, column: list[Any]) -> list[str]:
        if classes := self._classes.get(name):
            column = [classes.get(value, value) for value in column]
        return list(map(as_text, column))

    @contextlib.contextmanager
    def _open(self) -> Iterator[Any]:  # pyarrow has no types
        try:
            import pyarrow as pa  # noqa: PLC0415 (an extra)
            import pyarrow.parquet as pq  # noqa: PLC0415
        except ImportError:
            remedy = "pip install 'emoji_gpt2[parquet]'"
            raise UserError(PATH, repr(str(self.path)), "pyarrow for it", remedy) from None
        try:
            with pq.ParquetFile(self.path) as file:
                yield file
        except (pa.ArrowException, OSError) as error:
            got = f"{str(self.path)!r}, which cannot be read ({one_line(error)})"
            raise UserError(
                PATH, got, "a complete Parquet file", "fetch or write it again"
            ) from None
