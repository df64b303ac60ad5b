package lsp

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// maxMessage bounds the size of a message, in bytes. A text may have dsl.MaxSource, and characters that JSON escapes
// take several times their size.
const maxMessage = 64 << 20

// wire reads and writes messages with their headers, as a jrpc2 channel. It passes over what is not a header, so that
// no input ends the server, or takes memory without bounds.
type wire struct {
	r *bufio.Reader
	w io.Writer
}

func newWire(r io.Reader, w io.Writer) *wire { return &wire{bufio.NewReader(r), w} }

// Send writes a message.
func (c *wire) Send(message []byte) error {
	_, err := c.w.Write(append(fmt.Appendf(nil, "Content-Length: %d\r\n\r\n", len(message)), message...))
	return err
}

// Recv reads a message. One that is too long is passed over, and is empty.
func (c *wire) Recv() ([]byte, error) {
	size, err := c.header()
	if err != nil {
		return nil, err
	}
	if size > maxMessage {
		if _, err := io.CopyN(io.Discard, c.r, size); err != nil {
			return nil, end(err)
		}
		return []byte{}, nil
	}
	message := make([]byte, size)
	_, err = io.ReadFull(c.r, message)
	return message, end(err)
}

// header reads the headers of a message, and returns its size.
func (c *wire) header() (size int64, err error) {
	size = -1
	for {
		line, err := c.r.ReadSlice('\n')
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			continue
		case err != nil:
			return 0, end(err)
		}
		name, value, _ := strings.Cut(strings.TrimSpace(string(line)), ":")
		switch {
		case strings.EqualFold(name, "Content-Length"):
			if n, err := strconv.ParseInt(strings.TrimSpace(value), 10, 64); err == nil && n >= 0 {
				size = n
			}
		case name == "" && size >= 0:
			return size, nil
		}
	}
}

// Close leaves the streams open: they are not the wire's.
func (c *wire) Close() error { return nil }

// end takes the end of the input in the middle of a message for the end.
func end(err error) error {
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return io.EOF
	}
	return err
}
