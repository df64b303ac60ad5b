package main

import (
	"cmp"
	"errors"
	"flag"
	"fmt"
	"os"

	"stepflow/runtime/saved"
	"stepflow/runtime/state"
	"stepflow/runtime/state/remote"
)

// backendVariable names the backend where no flag does.
const backendVariable = "STEPFLOW_BACKEND"

// address returns where the state of a folder lies: where the flag, the environment, or else the folder says.
func (a *app) address(folder string) (string, error) {
	if s := a.places().Backend; s != "" {
		return s, nil
	}
	return state.Remembered(folder)
}

// places returns where flags and environment say that the state and its results lie.
func (a *app) places() saved.Places {
	return saved.Places{Backend: cmp.Or(a.backend, os.Getenv(backendVariable)),
		Artifacts: cmp.Or(a.artifacts, os.Getenv(artifactsVariable))}
}

// access says where the state of a folder lies, and how an operation takes its locks.
func (a *app) access(operation, folder string) (*state.Access, error) {
	address, err := a.address(folder)
	if err != nil {
		return nil, err
	}
	if was, err := state.Remembered(folder); address == state.Local && err == nil && was != address {
		return nil, fmt.Errorf("the state of %s lies in %s: leave out -backend, or move the state with \"stepflow "+
			"state push -backend=local\"", folder, was)
	}
	return a.accessTo(operation, address)
}

// accessTo says that a state lies at an address, and how an operation takes its locks.
func (a *app) accessTo(operation, address string) (*state.Access, error) {
	b, err := remote.Open(address, os.Getenv)
	if err != nil {
		return nil, err
	}
	return &state.Access{Backend: b, Unlocked: !a.lock, Wait: a.lockTimeout, Operation: operation, Version: version(),
		Warn: a.warn}, nil
}

// warn prints a warning that comes from beside what the command does.
func (a *app) warn(err error) {
	err = a.secrets.Error(err)
	if a.json {
		a.problemLine("warning", err.Error())
		return
	}
	fmt.Fprintf(a.stderr, "%s %v\n", a.paint(yellow, "Warning:"), err)
}

// follow brings the copy of a pipeline's state that its folder has to what its backend has.
func (a *app) follow(pipeline string) error {
	folder, err := a.stateOf(pipeline)
	if err != nil {
		return nil // reading the pipeline says what is wrong
	}
	access, err := a.access("", folder)
	if err != nil {
		return err
	}
	return access.Refresh(a.ctx, folder)
}

// openState opens a state for an operation that changes it.
func (a *app) openState(operation, folder string) (*state.Dir, error) {
	access, err := a.access(operation, folder)
	if err != nil {
		return nil, err
	}
	return access.Open(a.ctx, folder)
}

// closed closes a state that a command changed, and returns the command's exit code.
func (a *app) closed(d *state.Dir, code int) int {
	if err := d.Close(); err != nil {
		return a.fail(err)
	}
	return code
}

func forceUnlockCommand() command {
	var force bool
	return command{name: "force-unlock", args: "[flags] LOCK_ID", most: 1,
		short: "Removes a lock that a process left in the backend.",
		synopsis: "Removes the lock of a state in a backend, if it is the one of this ID, which errors about the " +
			"lock show. Do so only if the process that took it is gone: two that write one state lose what the other " +
			"did. A lock that a process left on this machine goes by itself with the next command, and so does that " +
			"of a folder.",
		example: "stepflow force-unlock -backend s3://states/paper.json 5a2b6c1e-8f1d-4c5e-9a3b-7d2f0e4c6b8a",
		flags: func(a *app, f *flag.FlagSet) {
			inspectFlags(a, f)
			f.BoolVar(&force, "force", false, "do not ask")
		},
		run: func(a *app, args []string) int {
			if len(args) == 0 {
				return a.misuse("stepflow force-unlock: name the lock that is to be removed: stepflow force-unlock " +
					"LOCK_ID")
			}
			if err := a.forceUnlock(args[0], force); err != nil {
				return a.fail(err)
			}
			if a.json {
				a.line(map[string]any{"unlocked": args[0]})
			} else {
				fmt.Fprintf(a.stdout, "The lock %s is removed.\n", args[0])
			}
			return exitOK
		}}
}

// forceUnlock removes a lock, after a question.
func (a *app) forceUnlock(id string, force bool) error {
	folder, err := a.statePath()
	if err != nil {
		return err
	}
	access, err := a.access("force-unlock", folder)
	if err != nil {
		return err
	}
	if access.Backend == nil {
		return fmt.Errorf("the state of %s lies in its folder alone, whose lock goes with the process that has it: "+
			"there is nothing to remove. -backend names another place", folder)
	}
	if !force {
		err := a.ask([]string{fmt.Sprintf("this would remove the lock %s of %s, whose process may still write there",
			id, access.Backend)}, "unlocked", "Use -force to allow it")
		if err != nil {
			return err
		}
	}
	err = access.Backend.Unlock(a.ctx, id)
	var held *state.HeldError
	if errors.As(err, &held) && held.Lock.ID != "" {
		return fmt.Errorf("the lock of %s is another one: %w", access.Backend, err)
	}
	return err
}
