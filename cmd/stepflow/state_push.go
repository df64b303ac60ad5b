package main

import (
	"errors"
	"fmt"
	"io"

	"stepflow/foreign"
	"stepflow/runtime/state"
)

// mostPushed bounds the file of a state that is pushed, in bytes.
const mostPushed = 256 << 20

// pull prints the state as it lies in its place.
func (a *app) pull(*stateFlags, []string) int {
	path, err := a.statePath()
	if err != nil {
		return a.fail(err)
	}
	access, err := a.access("", path)
	if err != nil {
		return a.fail(err)
	}
	b, err := access.Copy(a.ctx, path)
	if err == nil && b == nil {
		err = errors.New("there is no state yet")
	}
	if err != nil {
		return a.fail(err)
	}
	a.raw(string(b))
	return exitOK
}

// push puts a state to where the flags say that it lies from now on.
func (a *app) push(o *stateFlags, args []string) int {
	path, err := a.statePath()
	if err != nil {
		return a.fail(err)
	}
	b, from, err := a.pushed(path, args)
	if err != nil {
		return a.fail(err)
	}
	to, err := a.address(path)
	if err != nil {
		return a.fail(err)
	}
	access, err := a.accessTo("state push", to) // the state may lie elsewhere so far
	if err != nil {
		return a.fail(err)
	}
	changed, err := access.Push(a.ctx, path, b, o.force)
	if err != nil {
		return a.fail(fmt.Errorf("pushing %s to %s: %w", from, to, err))
	}
	switch {
	case a.json:
		a.line(map[string]any{"pushed": changed, "backend": to})
	case changed:
		fmt.Fprintf(a.stdout, "Pushed %s to %s.\n", from, to)
	default:
		fmt.Fprintf(a.stdout, "%s is in %s already.\n", from, to)
	}
	return exitOK
}

// pushed returns the bytes of the state that is to be pushed, and what they are: those of a file, or the state of the
// folder from where it has lain so far.
func (a *app) pushed(path string, args []string) (b []byte, what string, err error) {
	switch {
	case len(args) == 1 && args[0] == "-":
		what = "the standard input"
		b, err = io.ReadAll(io.LimitReader(a.stdin, mostPushed))
	case len(args) == 1:
		what = args[0]
		b, err = foreign.ReadFile(args[0], mostPushed)
	default:
		what = "the state of " + path
		b, err = a.lain(path)
		if err == nil && b == nil {
			err = fmt.Errorf("%s has no state: name the file of one", path)
		}
	}
	if err != nil {
		return nil, what, err
	}
	if _, err := state.Parse(b); err != nil {
		return nil, what, fmt.Errorf("%s: %w", what, err)
	}
	return b, what, nil
}

// lain returns the state of a folder from where it has lain so far: what the folder has not sent is newer.
func (a *app) lain(path string) ([]byte, error) {
	was, err := state.Remembered(path)
	if err != nil {
		return nil, err
	}
	to, err := a.address(path)
	if err != nil || to == was {
		return (*state.Access)(nil).Copy(a.ctx, path)
	}
	access, err := a.accessTo("", was)
	if err != nil {
		return nil, err
	}
	return access.Copy(a.ctx, path)
}
