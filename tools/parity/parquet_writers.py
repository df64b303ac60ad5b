"""Writes the same rows with several writers, codecs, page versions and encodings, for fineweb's TestWriters.

Usage: parquet_writers.py OUT"""
import itertools
import json
import random
import sys
from pathlib import Path

import duckdb
import polars
import pyarrow as pa
import pyarrow.parquet as pq

OUT = Path(sys.argv[1])
OUT.mkdir(parents=True, exist_ok=True)
r = random.Random(3)
words = "the of and to in is that for größe été мир 世界 한국어 😀 data\tmodel\ntoken".split(" ")
N = 3000
rows = [{"text": " ".join(r.choice(words) for _ in range(r.randrange(1, 60))), "id": f"<urn:uuid:{i:08x}>", "language_score": r.random(), "int_score": r.randrange(6)} for i in range(N)]
(OUT / "expected.json").write_text(json.dumps([[x["id"], x["text"]] for x in rows]))

plain = {k: [x[k] for x in rows] for k in rows[0]}
nested = [{"a": [1, i], "b": {"c": str(i)}} if i % 3 else None for i in range(N)]
for text_type, required in itertools.product(["string", "large_string"], [False, True]):
    schema = pa.schema([pa.field("text", getattr(pa, text_type)(), nullable=not required), pa.field("id", pa.string()), pa.field("language_score", pa.float64()), pa.field("int_score", pa.int64()),
                        pa.field("nested", pa.struct([("a", pa.list_(pa.int32())), ("b", pa.struct([("c", pa.string())]))]))])
    table = pa.table({**plain, "nested": nested}, schema=schema)
    for codec in ["none", "snappy", "gzip", "zstd", "brotli", "lz4"]:
        for version, index in [("1.0", False), ("2.0", True)]:
            for encoding in ["dictionary", "PLAIN", "DELTA_LENGTH_BYTE_ARRAY", "DELTA_BYTE_ARRAY"]:
                more = {"use_dictionary": True} if encoding == "dictionary" else {"use_dictionary": False, "column_encoding": {"text": encoding, "id": encoding, "int_score": "DELTA_BINARY_PACKED", "language_score": "BYTE_STREAM_SPLIT"}}
                group = r.choice([100, 1000, N])
                pq.write_table(table, OUT / f"pyarrow-{text_type}-{required}-{codec}-v{version}-{encoding}.parquet", compression=codec, data_page_version=version, write_page_index=index,
                               row_group_size=group, data_page_size=8192, write_batch_size=100, **more)
frame = polars.DataFrame(plain)
for codec in ["uncompressed", "snappy", "gzip", "zstd", "brotli", "lz4"]:
    frame.write_parquet(OUT / f"polars-{codec}.parquet", compression=codec, row_group_size=700)
duckdb.register("frame", pa.table(plain))
for codec in ["uncompressed", "snappy", "gzip", "zstd", "brotli", "lz4_raw"]:
    for version in ["V1", "V2"]:
        duckdb.sql(f"COPY (SELECT * FROM frame) TO '{OUT}/duckdb-{codec}-{version}.parquet' (FORMAT parquet, COMPRESSION {codec}, PARQUET_VERSION {version}, ROW_GROUP_SIZE 2048)")
print(f"{len(list(OUT.glob('*.parquet')))} files; pyarrow {pa.__version__}, polars {polars.__version__}, duckdb {duckdb.__version__}")
