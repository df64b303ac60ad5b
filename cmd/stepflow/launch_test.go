package main

import (
	"fmt"
	"net"
	"os"
	"testing"
	"time"
)

// TestLastWordOfRankIsHeard ends processes before their exit codes have been read.
func TestLastWordOfRankIsHeard(t *testing.T) {
	s, err := newStarter(&app{ctx: t.Context(), stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr}, 1)
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	go s.serve()
	c, err := net.DialUnix("unix", nil, s.socket.Addr().(*net.UnixAddr))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	fmt.Fprintf(c, "0 %d\n", 1<<30) // no process has this number
	if _, err := c.Read(make([]byte, 64)); err != nil {
		t.Fatal(err)
	}
	time.AfterFunc(50*time.Millisecond, func() {
		fmt.Fprintln(c, exitChanges)
		c.Close()
	})
	s.listen(20 * time.Second)
	if code := s.code(nil); code != exitChanges {
		t.Errorf("a rank that ended with %d counts as one that ended with %d", exitChanges, code)
	}
}
