// Package fineweb turns text files into batches of tokens: FineWeb-Edu parquet and other parquet,
// JSON lines and plain text. The order of documents is a pure function of seed, epoch and position,
// so the position of a run is a small struct and seeking to it reads one row group.
//
// In: a [Source] (files on disk, on web servers, on the Hugging Face hub or in buckets, with
// filters) and a tokenizer. Out: a [Batch] of token ids at a time, and the [Position] after it.
// Start with [Open] (corpus.go), which lists the pieces of a source; stream.go packs documents
// into batches, set.go mixes several sources, filter.go holds the conditions.
//
// Package tokenizer makes ids of text; web, hub and s3 fetch ranges of remote files and list them;
// glob matches names.
package fineweb
