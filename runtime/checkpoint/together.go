package checkpoint

import (
	"bufio"
	"crypto/sha256"
	"encoding"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"

	"stepflow/gpu"
	"stepflow/runtime/durable"
)

// WriteTogether is Write for ranks that share a file system and have a part of the tensors each. They write their tensors at the
// same time, each in its place in the files, whose layout all of them know. So the folder has the same bytes however many ranks
// there are. What a file hashes to is found by handing the state of the hash from the writer of one tensor to that of the next: no
// rank reads what others wrote.
//
// All ranks give the same tensors. Other parts are given and written by rank 0, which makes the folder and returns its content
// id. agree has all ranks fail where one does.
func WriteTogether(c gpu.Communicator, agree func(error) error, dir string, parts []Part) (id string, err error) {
	tmp := dir + tmpSuffix
	first := c.Rank() == 0
	defer func() {
		if err != nil && first {
			os.RemoveAll(tmp)
		}
	}()
	var begin error
	if first {
		begin = prepare(dir, tmp, parts)
	}
	if err := agree(begin); err != nil {
		return "", err
	}
	if err := agree(writeMine(c.Rank(), tmp, parts)); err != nil {
		return "", err
	}
	m := manifest{Version: 1, Files: map[string]Digest{}}
	for _, p := range parts {
		var failed error
		if p.tensors == nil {
			if first {
				m.Files[p.Name], failed = p.Write(tmp)
			}
		} else {
			m.Files[p.Name], failed = p.digestTogether(c, agree)
		}
		if failed != nil {
			begin = errors.Join(begin, failed)
		}
	}
	if first && begin == nil {
		id, begin = commit(dir, tmp, m)
	}
	return id, agree(begin)
}

// prepare makes a folder with the files of tensors in it, in their full size and with nothing in them but headers.
func prepare(dir, tmp string, parts []Part) error {
	if err := durable.MkdirAll(filepath.Dir(dir), 0o777); err != nil {
		return err
	}
	if err := Recover(dir); err != nil {
		return err
	}
	if err := os.Mkdir(tmp, 0o777); err != nil {
		return err
	}
	for _, p := range parts {
		if p.tensors == nil {
			continue
		}
		_, header, err := layout(p.tensors)
		if err == nil {
			err = os.WriteFile(filepath.Join(tmp, p.Name), header, 0o666)
		}
		if err == nil {
			err = os.Truncate(filepath.Join(tmp, p.Name), TensorsSize(p.tensors))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// writeMine writes the tensors of a rank. Files are opened for writing alone: then a client of NFS sends what was written and
// nothing beside it.
func writeMine(rank int, dir string, parts []Part) error {
	for _, p := range parts {
		if err := p.writeMine(rank, dir); err != nil {
			return err
		}
	}
	return nil
}

func (p Part) writeMine(rank int, dir string) (err error) {
	list, header, err := layout(p.tensors)
	if p.tensors == nil || err != nil {
		return err
	}
	f, err := os.OpenFile(filepath.Join(dir, p.Name), os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	at := int64(len(header))
	for _, t := range list {
		if t.Rank == rank {
			w := bufio.NewWriterSize(io.NewOffsetWriter(f, at), 1<<20)
			if err = t.write(w); err == nil {
				err = w.Flush()
			}
			if err != nil {
				return fmt.Errorf("tensor %s: %w", t.Name, err)
			}
		}
		at += t.Bytes()
	}
	return f.Sync()
}

// digestTogether hashes a file of tensors: each rank those that it writes, beginning with the state that the one before ended with.
// It goes on after an error, so that all ranks do the same.
func (p Part) digestTogether(c gpu.Communicator, agree func(error) error) (Digest, error) {
	list, header, err := layout(p.tensors)
	if err != nil {
		return Digest{}, err
	}
	h := sha256.New()
	h.Write(header)
	size, holder := int64(len(header)), 0
	var failed error
	for _, t := range list {
		if t.Rank != holder {
			if err := hand(c, holder, h); err != nil {
				return Digest{}, err
			}
			holder = t.Rank
		}
		if holder == c.Rank() && failed == nil {
			if failed = t.write(h); failed != nil {
				failed = fmt.Errorf("tensor %s: %w", t.Name, failed)
			}
		}
		size += t.Bytes()
	}
	if err := hand(c, holder, h); err != nil {
		return Digest{}, err
	}
	return Digest{size, hex.EncodeToString(h.Sum(nil))}, agree(failed)
}

// hand gives the state of a hash to all ranks.
func hand(c gpu.Communicator, from int, h hash.Hash) error {
	b, err := h.(encoding.BinaryMarshaler).MarshalBinary()
	if err != nil {
		return err
	}
	if err := c.Broadcast(from, b); err != nil {
		return err
	}
	return h.(encoding.BinaryUnmarshaler).UnmarshalBinary(b)
}
