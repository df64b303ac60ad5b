package metrics

import (
	"bytes"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"strconv"
)

// Each line ends with a checksum (CRC-32C) of what it would be without: so a number that changed on disk is not shown.
const (
	sumStart  = `,"crc32c":"`
	sumLength = len(sumStart) + 8 + len(`"`)
)

// sumOf returns the checksum of a line, given without its last brace.
func sumOf(open []byte) uint32 {
	return crc32.Update(crc32.Checksum(open, castagnoli), castagnoli, []byte("}"))
}

// sealed returns the end of a line.
func sealed(open []byte) string { return fmt.Sprintf(sumStart+`%08x"}`, sumOf(open)) }

// holds reports whether the end of a line is what sealed returns of the rest.
func holds(open, end []byte) bool {
	sum, err := strconv.ParseUint(string(end[len(sumStart):len(end)-2]), 16, 32)
	return err == nil && string(end[len(end)-2:]) == `"}` && uint32(sum) == sumOf(open)
}

// encode writes the line of a step, or of an evaluation.
func encode(x any) ([]byte, error) {
	b, err := json.Marshal(x)
	if err != nil {
		return nil, err
	}
	open := b[:len(b)-1]
	return append(append(open, sealed(open)...), '\n'), nil
}

// decode reads a line. One without a checksum was written by an older version.
func (s *Step) decode(line []byte) bool {
	line = bytes.TrimSuffix(line, []byte("\n"))
	if at := len(line) - 1 - sumLength; at > 0 && bytes.HasPrefix(line[at:], []byte(sumStart)) {
		if !holds(line[:at], line[at:]) {
			return false
		}
		if s.scan(line[:at]) {
			return true
		}
		*s = Step{}
	}
	return json.Unmarshal(line, s) == nil
}

// scan reads what encode wrote, without its end, ten times as fast as encoding/json does, since a stage may have
// millions of lines. It reports false for a line in which something is not a plain number, such as a step that was not
// finite, and leaves s half read.
func (s *Step) scan(line []byte) bool {
	if len(line) == 0 || line[0] != '{' {
		return false
	}
	rest := line[1:]
	for {
		key, value, left, ok := member(rest)
		if !ok {
			return false
		}
		switch string(key) {
		case "step":
			s.Step, ok = intOf[int](value)
		case "time_unix_ms":
			s.Time, ok = intOf[int64](value)
		case "tokens":
			s.Tokens, ok = intOf[int64](value)
		case "flops":
			s.FLOPs, ok = intOf[int64](value)
		case "epoch":
			s.Epoch, ok = intOf[int64](value)
		case "held_out_documents":
			s.HeldOut, ok = intOf[int64](value)
		case "loss":
			s.Loss, ok = floatOf(value)
		case "learning_rate":
			s.LearningRate, ok = floatOf(value)
		case "grad_norm":
			s.GradNorm, ok = floatOf(value)
		case "seconds":
			s.Seconds, ok = floatOf(value)
		case "tokens_per_second":
			s.TokensPerSec, ok = floatOf(value)
		case "mfu":
			s.MFU, ok = floatOf(value)
		case "data_wait_seconds":
			s.DataWait, ok = floatOf(value)
		case "merge_error":
			s.MergeError, ok = floatOf(value)
		case "sources":
			s.Sources, ok = countsOf(value)
		default:
			ok = false
		}
		if !ok || len(left) == 0 {
			return ok
		}
		rest = left
	}
}

// member cuts "key":value off the members of an object; what follows the comma is left.
func member(b []byte) (key, value, left []byte, ok bool) {
	if len(b) == 0 || b[0] != '"' {
		return
	}
	end := bytes.IndexByte(b[1:], '"') + 1
	if end < 1 || end+1 >= len(b) || b[end+1] != ':' {
		return
	}
	key, value = b[1:end], b[end+2:]
	cut := 0
	if len(value) > 0 && value[0] == '{' {
		cut = bytes.IndexByte(value, '}') + 1
	}
	if comma := bytes.IndexByte(value[cut:], ','); comma >= 0 {
		value, left = value[:cut+comma], value[cut+comma+1:]
	}
	return key, value, left, true
}

// countsOf reads an object of integers whose keys have nothing escaped.
func countsOf(b []byte) (map[string]int64, bool) {
	if len(b) < 2 || b[0] != '{' || b[len(b)-1] != '}' || bytes.IndexByte(b, '\\') >= 0 {
		return nil, false
	}
	counts := map[string]int64{}
	for rest := b[1 : len(b)-1]; len(rest) > 0; {
		key, value, left, ok := member(rest)
		n, isInt := intOf[int64](value)
		if !ok || !isInt {
			return nil, false
		}
		counts[string(key)], rest = n, left
	}
	return counts, true
}

func intOf[T int | int64](b []byte) (T, bool) {
	n, err := strconv.ParseInt(string(b), 10, 64)
	return T(n), err == nil
}

func floatOf(b []byte) (float64, bool) {
	x, err := strconv.ParseFloat(string(b), 64)
	return x, err == nil && Finite(x)
}
