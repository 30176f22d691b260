"""A Parquet file as blocks of columns of str, row group by row group.

Use::

    table = ParquetTable(Path("emoji_df.parquet"))
    for numbers, (names, emoji) in table.blocks(["name", "emoji"], rows=65_536):
        ...

pyarrow is an extra of this package, imported when a Parquet file is read and not before.
"""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emoji_gpt2.data.sources.text_tables import Block
from emoji_gpt2.errors import UserError, one_line, refused

if TYPE_CHECKING:
    import pyarrow.parquet


@dataclass(frozen=True)
class ParquetTable:
    """Records are numbered from 1; missing values are ""; numbers are as pyarrow writes them."""

    path: Path

    def names(self) -> list[str]:
        """The names in the schema, white space kept."""
        with self._open() as file:
            return list(file.schema_arrow.names)

    def blocks(self, columns: list[str], rows: int) -> Iterator[Block]:
        """Refuses a column whose values are not single ones, such as lists."""
        number = 1
        with self._open() as file:
            for batch in file.iter_batches(batch_size=rows, columns=columns):
                numbers = list(range(number, number + batch.num_rows))
                yield numbers, [self._texts(batch.column(c), c) for c in columns]
                number += batch.num_rows

    def n_lines(self) -> int | None:
        """The number of records."""
        with self._open() as file:
            return int(file.metadata.num_rows)

    @contextlib.contextmanager
    def _open(self) -> "Iterator[pyarrow.parquet.ParquetFile]":
        try:
            import pyarrow as pa  # noqa: PLC0415 (an extra)
            import pyarrow.parquet as pq  # noqa: PLC0415
        except ImportError:
            line = "reading Parquet needs pyarrow: pip install 'emoji_gpt2[parquet]'"
            raise UserError(f"--data.path: got {str(self.path)!r}; {line}") from None
        try:
            with pq.ParquetFile(self.path) as file:
                yield file
        except (pa.ArrowException, OSError) as error:
            got = f"{str(self.path)!r}, which cannot be read ({one_line(error)})"
            raise refused(got, "a complete Parquet file", "fetch or write it again") from None

    def _texts(self, column: Any, name: str) -> list[str]:  # pyarrow has no types
        import pyarrow as pa  # noqa: PLC0415

        try:
            texts: list[str | None] = column.cast(pa.large_string()).to_pylist()
        except pa.ArrowException:
            got = f"values of type {column.type} in column {name!r} of {str(self.path)!r}"
            raise refused(got, "strings", "write each value as one string") from None
        return ["" if text is None else text for text in texts]
