package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"stepflow/fineweb"
	"stepflow/fineweb/tokenizer"
)

// data compares tokenizing, training a tokenizer, reading parquet and packing batches with tokenizers, pyarrow and
// datasets. The text is the documentation of the Go standard library.
func data(o options) error {
	dir, err := os.MkdirTemp("", "bench")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	root, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		return err
	}
	sample, err := fineweb.GoDocs(strings.TrimSpace(string(root)), 0)
	if err != nil {
		return err
	}
	rows := sample.Rows
	var bytes float64
	for _, r := range rows {
		bytes += float64(len(r.Text))
	}
	tok, err := train(rows)
	if err != nil {
		return err
	}
	file := filepath.Join(dir, "tokenizer.json")
	if err := os.WriteFile(file, tok.JSON(), 0o644); err != nil {
		return err
	}
	paths := map[string]string{}
	for _, codec := range []string{"zstd", "snappy"} {
		paths[codec] = filepath.Join(dir, codec+".parquet")
	}
	if err := fineweb.WriteParquet(paths["zstd"], rows, 1000); err != nil {
		return err
	}
	if _, err := dataPeer(o, "snappy", paths["zstd"], paths["snappy"], 2, map[string]string{}); err != nil {
		return err
	}
	fresh := func() *tokenizer.Tokenizer { // its cache of words is empty
		t, err := tokenizer.Parse(tok.JSON())
		if err != nil {
			panic(err)
		}
		return t
	}
	fmt.Printf("Data: %.1f MB of English text in %d documents, a byte-level BPE of 8192 tokens\n\n"+
		"| | peer | stepflow, MB/s | peer, MB/s | times the peer |\n|---|---|---|---|---|\n", bytes/1e6, len(rows))
	versions := map[string]string{}
	for _, task := range []dataTask{
		{"tokenizing, 1 thread", "tokenizers", "encode", 1, "zstd",
			func() error { encodeAll(fresh(), rows, 1); return nil }},
		{"tokenizing, 2 threads", "tokenizers", "encode", 2, "zstd",
			func() error { encodeAll(fresh(), rows, 2); return nil }},
		{"training a tokenizer, 1 thread", "tokenizers", "train", 1, "zstd",
			func() error { _, err := train(rows); return err }},
		{"column text, zstd, 1 thread", "pyarrow", "parquet", 1, "zstd",
			func() error { return readText(paths["zstd"]) }},
		{"column text, snappy, 1 thread", "pyarrow", "parquet", 1, "snappy",
			func() error { return readText(paths["snappy"]) }},
		{"parquet to packed batches, 1 thread", "datasets", "loader", 1, "zstd",
			func() error { return load(paths["zstd"], fresh()) }},
	} {
		ours, theirs, err := task.compare(o, paths[task.parquet], file, versions)
		if err != nil {
			return fmt.Errorf("%s: %w", task.name, err)
		}
		us, them := bytes/1e6/ours, bytes/1e6/theirs
		fmt.Printf("| %s | %s | %.1f | %.1f | %.2f |\n", task.name, task.peer, us, them, us/them)
	}
	fmt.Println()
	fmt.Printf("Peers: %v\n", versions)
	return nil
}

// dataTask is what ours and a peer do in turns: python is its name in data_peers.py, parquet how its file is
// compressed.
type dataTask struct {
	name, peer, python string
	threads            int
	parquet            string
	run                func() error
}

// compare returns the median seconds of both.
func (t *dataTask) compare(
	o options, parquet, tokenizer string, versions map[string]string,
) (ours, theirs float64, err error) {
	var us, them []float64
	for round := 0; round <= o.rounds; round++ {
		runtime.GOMAXPROCS(t.threads)
		start := time.Now()
		err := t.run()
		s := time.Since(start).Seconds()
		runtime.GOMAXPROCS(runtime.NumCPU())
		if err != nil {
			return 0, 0, err
		}
		p, err := dataPeer(o, t.python, parquet, tokenizer, t.threads, versions)
		if err != nil {
			return 0, 0, err
		}
		if round > 0 { // the first warms the files
			us, them = append(us, s), append(them, p)
		}
	}
	return median(us), median(them), nil
}

// train makes a tokenizer of the text.
func train(rows []fineweb.Row) (*tokenizer.Tokenizer, error) {
	tr := tokenizer.NewTrainer()
	for _, r := range rows {
		tr.Add(r.Text)
	}
	return tr.Train(context.Background(), 8192)
}

func encodeAll(tok *tokenizer.Tokenizer, rows []fineweb.Row, threads int) {
	var wait sync.WaitGroup
	var next atomic.Int64
	for range threads {
		wait.Add(1)
		go func() {
			defer wait.Done()
			for i := int(next.Add(1)) - 1; i < len(rows); i = int(next.Add(1)) - 1 {
				if _, err := tok.Encode(nil, rows[i].Text); err != nil {
					panic(err)
				}
			}
		}()
	}
	wait.Wait()
}

func readText(path string) error {
	source := fineweb.Source{Format: "parquet", Patterns: []string{path}, IDColumn: "id"}
	c, err := fineweb.Open(context.Background(), source)
	if err != nil {
		return err
	}
	defer c.Close()
	return c.Head(nil, func(fineweb.Sample) bool { return true })
}

// load packs one pass over the data into batches of 8 sequences of 256 tokens.
func load(path string, tok *tokenizer.Tokenizer) error {
	source := fineweb.Source{Format: "parquet", Patterns: []string{path}, Shuffle: true, DocumentMask: true}
	set, err := fineweb.OpenSet(context.Background(), []fineweb.Weighted{{Weight: 1, Source: source}})
	if err != nil {
		return err
	}
	defer set.Close()
	m, err := set.Stream(fineweb.Train, tok, 256, fineweb.Position{})
	if err != nil {
		return err
	}
	for {
		b, err := m.Next(8)
		if err != nil || b.Cursor.Epoch > 0 {
			return err
		}
	}
}

func dataPeer(o options, task, parquet, tokenizer string, threads int, versions map[string]string) (float64, error) {
	c := exec.Command(o.python, "bench/data_peers.py", task, parquet, tokenizer)
	parallel := "true"
	if threads == 1 {
		parallel = "false"
	}
	n := fmt.Sprint(threads)
	c.Env = append(os.Environ(), "RAYON_NUM_THREADS="+n, "TOKENIZERS_PARALLELISM="+parallel, "OMP_NUM_THREADS="+n,
		"HF_HUB_OFFLINE=1", "HF_HOME="+filepath.Dir(parquet)+"/hf")
	c.Stderr = os.Stderr
	out, err := c.Output()
	if err != nil {
		return 0, err
	}
	var answer struct {
		Seconds  float64
		Versions map[string]string
	}
	if err := json.Unmarshal(out, &answer); err != nil {
		return 0, fmt.Errorf("%s: %w", out, err)
	}
	for k, v := range answer.Versions {
		versions[k] = v
	}
	return answer.Seconds, nil
}
