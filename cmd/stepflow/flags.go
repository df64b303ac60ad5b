package main

import (
	"errors"
	"flag"

	"stepflow/dsl"
)

// parseFlags reads flags before, between and after arguments, and returns the arguments; with an error, those before
// it.
func parseFlags(f *flag.FlagSet, line []string) (args []string, err error) {
	for {
		if err := f.Parse(line); err != nil {
			return args, err
		}
		if line = f.Args(); len(line) == 0 {
			return args, nil
		}
		args, line = append(args, line[0]), line[1:]
	}
}

// common adds the flags of commands that read a pipeline.
func common(a *app, f *flag.FlagSet) {
	f.BoolVar(&a.json, "json", false, "write JSON for machines")
	f.StringVar(&a.stateDir, "state-dir", "", "folder of state, checkpoints and caches (default: .stepflow in DIR)")
	lying(a, f)
	planning(a, f)
}

// inspectFlags adds the flags of commands whose argument is not the pipeline.
func inspectFlags(a *app, f *flag.FlagSet) {
	f.BoolVar(&a.json, "json", false, "write JSON for machines")
	f.StringVar(&a.stateDir, "state-dir", "",
		"folder of state, checkpoints and caches (default: .stepflow in the pipeline's folder)")
	lying(a, f)
	f.StringVar(&a.dir, "dir", ".", "folder of the pipeline")
}

// lying adds the flags that say where the state lies besides its folder.
func lying(a *app, f *flag.FlagSet) {
	f.StringVar(&a.backend, "backend", "", "where the state lies: s3://BUCKET/KEY, https://HOST/PATH, or local for "+
		"the folder alone (default: "+backendVariable+", or where the folder's state lies already)")
	f.StringVar(&a.artifacts, "artifacts", "", "where results and checkpoints are kept too: a folder, "+
		"s3://BUCKET/PREFIX, or none (default: "+artifactsVariable+", or where the last apply kept them)")
}

// locking adds the flags of commands that write the state.
func locking(a *app, f *flag.FlagSet) {
	f.BoolVar(&a.lock, "lock", true, "take the backend's lock; without it, two runs may write the state at once")
	f.DurationVar(&a.lockTimeout, "lock-timeout", 0, "how long to wait for a lock that another process has, as 10m")
}

// planning adds the flags that decide what a plan comes to.
func planning(a *app, f *flag.FlagSet) {
	f.StringVar(&a.device, "device", "cpu", "device to plan for and run on: cpu, cuda or cuda:N for card N")
	f.StringVar(&a.deviceMemory, "device-memory", "",
		"memory the run may take, as \"24GiB\" (default: what the device has)")
	f.StringVar(&a.capability, "compute-capability", "8.0", "of the card that plan -device cuda plans for")
	variables(a, f)
}

// variables adds the flags that give the variables of a pipeline.
func variables(a *app, f *flag.FlagSet) {
	f.Func("var", "set a variable, as name=value; can be repeated, later ones win", func(s string) error {
		a.given = append(a.given, dsl.Flag{Var: s})
		return nil
	})
	f.Func("var-file", "read variables from a file; can be repeated, and the order among -var and -var-file counts",
		func(s string) error {
			if s == "" {
				return errors.New("it needs the name of a file")
			}
			a.given = append(a.given, dsl.Flag{File: s})
			return nil
		})
}

// selecting adds the flags that leave blocks out of a plan, or run them again.
func selecting(a *app, f *flag.FlagSet) {
	for _, x := range []struct {
		name, usage string
		list        *[]string
	}{
		{"target", "plan only this block or instance, and what it needs; can be repeated", &a.selection.Target},
		{"exclude", "leave out this block or instance, and what needs it; can be repeated", &a.selection.Exclude},
		{"replace", "run this block or instance again, though it is up to date; can be repeated",
			&a.selection.Replace},
	} {
		f.Func(x.name, x.usage, func(s string) error {
			*x.list = append(*x.list, s)
			return nil
		})
	}
	f.BoolVar(&a.selection.RefreshOnly, "refresh-only", false,
		"only look at data and at results on disk, and at what differs from the state; apply records that")
}

// testDirectory adds the flag that names the folder of test files.
func testDirectory(f *flag.FlagSet, folder *string) {
	f.StringVar(folder, "test-directory", "tests", "folder of test files in the pipeline's")
}
