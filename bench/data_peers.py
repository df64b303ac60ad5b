"""Peers of stepflow's data path: prints the seconds of one task as JSON. Threads are set by the caller's environment."""
import json
import sys
import time

task, parquet, tokenizer = sys.argv[1:4]


def texts():
    import pyarrow.parquet as pq
    return pq.read_table(parquet, columns=["text"])["text"].to_pylist()


def timed(f):
    start = time.perf_counter()
    f()
    return time.perf_counter() - start


if task == "encode":
    from tokenizers import Tokenizer
    tok, lines = Tokenizer.from_file(tokenizer), texts()
    tok.encode_batch(lines[:20])
    seconds = timed(lambda: tok.encode_batch_fast(lines, add_special_tokens=False))
elif task == "train":
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers
    lines = texts()
    tok = Tokenizer(models.BPE())
    tok.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(vocab_size=8192, special_tokens=["<|endoftext|>"], initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False)
    seconds = timed(lambda: tok.train_from_iterator(lines, trainer))
elif task == "snappy":  # makes the file named behind it
    import pyarrow.parquet as pq
    seconds = timed(lambda: pq.write_table(pq.read_table(parquet), tokenizer, compression="snappy", row_group_size=1000))
elif task == "parquet":
    import pyarrow as pa
    import pyarrow.parquet as pq
    pa.set_cpu_count(1)
    read = lambda: pq.read_table(parquet, columns=["text"], use_threads=False)
    read()
    seconds = timed(read)
elif task == "loader":
    import datasets
    from tokenizers import Tokenizer
    datasets.disable_progress_bars()
    tok = Tokenizer.from_file(tokenizer)
    eot = tok.token_to_id("<|endoftext|>")

    def pack(batch):  # as in the run_clm example of transformers
        ids = []
        for e in tok.encode_batch_fast(batch["text"], add_special_tokens=False):
            ids += e.ids + [eot]
        n = len(ids) // 256 * 256
        return {"input_ids": [ids[i:i + 256] for i in range(0, n, 256)]}

    def load():
        stream = datasets.load_dataset("parquet", data_files=parquet, split="train", streaming=True).select_columns(["text"])
        for batch in stream.map(pack, batched=True, batch_size=1000, remove_columns=["text"]).with_format("numpy").iter(batch_size=8):
            batch["input_ids"]
    seconds = timed(load)
versions = {m: __import__(m).__version__ for m in ("tokenizers", "pyarrow", "datasets") if m in sys.modules}
print(json.dumps({"seconds": seconds, "versions": versions}))
