"""Writes rows with lists, structs, maps and nulls as parquet, by pyarrow, and as JSON lines, by json: the fixture of
fineweb's records."""
import json
import pathlib
import random

import pyarrow as pa
import pyarrow.parquet as pq

folder = pathlib.Path(__file__).parents[2] / "fineweb" / "testdata"
rng = random.Random(20)
message = pa.struct([("role", pa.string()), ("content", pa.string()), ("weight", pa.int8())])
schema = pa.schema([
    ("ind", pa.int32()),
    ("messages", pa.list_(message)),
    ("choices", pa.struct([("text", pa.list_(pa.string())), ("label", pa.list_(pa.string()))])),
    ("scores", pa.list_(pa.list_(pa.float64()))),
    ("tags", pa.map_(pa.string(), pa.list_(pa.int64()))),
    ("good", pa.bool_()),
    ("nested", pa.struct([("deep", pa.struct([("deeper", pa.list_(pa.struct([("x", pa.int64())])))]))])),
    ("kind", pa.dictionary(pa.int8(), pa.string())),
])
words = ["", "one", "zwei é", "三", "🙂 four", "a line\nand another", '"quoted"']


def maybe(make):
    return None if rng.random() < 0.15 else make()


def many(make, most=4):
    return [make() for _ in range(rng.randrange(most))]


def row(i):
    word = lambda: rng.choice(words)
    return {
        "ind": i,
        "messages": maybe(lambda: many(lambda: maybe(lambda: {
            "role": word(), "content": maybe(word), "weight": maybe(lambda: rng.randrange(9))}))),
        "choices": maybe(lambda: {"text": maybe(lambda: many(word)), "label": many(lambda: maybe(word))}),
        "scores": maybe(lambda: many(lambda: maybe(lambda: many(lambda: rng.randrange(8) / 4)))),
        "tags": maybe(lambda: {k: many(lambda: rng.randrange(1 << 40)) for k in rng.sample(["a", "b", "c"], 2)}),
        "good": maybe(lambda: rng.random() < 0.5),
        "nested": maybe(lambda: {"deep": maybe(lambda: {"deeper": maybe(lambda: many(lambda: maybe(lambda: {
            "x": maybe(lambda: rng.randrange(100))})))})}),
        "kind": maybe(word),
    }


rows = [row(i) for i in range(120)]
table = pa.Table.from_pylist([{**r, "tags": r["tags"] and list(r["tags"].items())} for r in rows], schema=schema)
pq.write_table(table, folder / "records.parquet", row_group_size=50, data_page_size=300, write_batch_size=7,
               compression="zstd")
pq.write_table(table, folder / "records_v2.parquet", row_group_size=70, data_page_size=300, write_batch_size=7,
               data_page_version="2.0", use_dictionary=False, compression="snappy", use_compliant_nested_type=False)
with open(folder / "records.jsonl", "w") as f:
    for r in rows:
        f.write(json.dumps(r, ensure_ascii=rng.random() < 0.5) + "\n")
