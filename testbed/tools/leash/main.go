// Command leash runs a program that must not outlive its owner.
//
//	leash [--grace 5s] [--pid-file FILE] [--cleanup-mounts DIR] [--finally COMMAND] -- PROGRAM ARGUMENTS...
//
// The owner holds the other end of the leash's standard input. When that closes (the owner has ended for whatever
// reason, SIGKILL included), or when the leash is signalled, the program gets SIGTERM, --grace to end by itself, and
// then everything that descends from it is killed: also what it left behind as daemons, because orphans are handed to
// the leash (PR_SET_CHILD_SUBREAPER), as containerd's shims and their containers are. After that, what is mounted below
// --cleanup-mounts is unmounted and --finally is run by /bin/sh. The exit code is the program's, or 128 + the signal
// that ended it. The same cleaning up happens when the program ends by itself.
//
// The leash itself may be killed too: then the kernel kills the program (PR_SET_PDEATHSIG), though not its descendants.
package main

import (
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"strconv"
	"syscall"
	"time"
)

// prSetChildSubreaper is PR_SET_CHILD_SUBREAPER of prctl(2), which package syscall does not name.
const prSetChildSubreaper = 36

type options struct {
	grace   time.Duration
	pidFile string
	mounts  string
	finally string
	command []string
}

func main() {
	// The kernel sends PR_SET_PDEATHSIG when the thread that started the child ends, not when the process does.
	runtime.LockOSThread()
	options := parse()
	code, err := run(options)
	if err != nil {
		fmt.Fprintf(os.Stderr, "leash: %v\n", err)
		os.Exit(127)
	}
	os.Exit(code)
}

func parse() options {
	var parsed options
	flag.DurationVar(&parsed.grace, "grace", 5*time.Second, "time between SIGTERM and SIGKILL; 0 kills at once")
	flag.StringVar(&parsed.pidFile, "pid-file", "", "file that gets the program's process id")
	flag.StringVar(&parsed.mounts, "cleanup-mounts", "", "directory below which everything is unmounted at the end")
	flag.StringVar(&parsed.finally, "finally", "", "shell command that is run at the very end")
	flag.Parse()
	parsed.command = flag.Args()
	if len(parsed.command) == 0 {
		fmt.Fprintln(os.Stderr, "leash: name the program to run after --")
		os.Exit(2)
	}
	return parsed
}

func run(options options) (int, error) {
	stop := stopRequested()
	if _, _, errno := syscall.RawSyscall(syscall.SYS_PRCTL, prSetChildSubreaper, 1, 0); errno != 0 {
		return 0, fmt.Errorf("become subreaper: %w", errno)
	}
	child, err := start(options)
	if err != nil {
		return 0, err
	}
	ended := make(chan int, 1)
	go reap(child, ended)
	code := wait(child, options.grace, stop, ended)
	killDescendants()
	if options.mounts != "" {
		unmountBelow(options.mounts)
	}
	if options.finally != "" {
		finally(options.finally)
	}
	return code, nil
}

// stopRequested is closed when the owner is gone or the leash is told to stop.
func stopRequested() <-chan struct{} {
	stop := make(chan struct{}, 2)
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin) // until end of file
		stop <- struct{}{}
	}()
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
	go func() {
		<-signals
		stop <- struct{}{}
	}()
	// A reader of our output that went away must not end the leash before it has cleaned up.
	signal.Ignore(syscall.SIGPIPE)
	return stop
}

func start(options options) (int, error) {
	path, err := exec.LookPath(options.command[0])
	if err != nil {
		return 0, err
	}
	null, err := os.Open(os.DevNull)
	if err != nil {
		return 0, err
	}
	defer null.Close()
	child, err := syscall.ForkExec(path, options.command, &syscall.ProcAttr{
		Env:   os.Environ(),
		Files: []uintptr{null.Fd(), os.Stdout.Fd(), os.Stderr.Fd()},
		Sys:   &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL},
	})
	if err != nil {
		return 0, fmt.Errorf("start %s: %w", path, err)
	}
	if options.pidFile != "" {
		if err := writeAtomically(options.pidFile, strconv.Itoa(child)); err != nil {
			return 0, err
		}
	}
	return child, nil
}

// writeAtomically makes sure that a reader finds all of the content or no file.
func writeAtomically(path, content string) error {
	partial := path + ".partial"
	if err := os.WriteFile(partial, []byte(content), 0o644); err != nil {
		return err
	}
	return os.Rename(partial, path)
}

// reap waits for every process that is or becomes ours, and reports the end of child.
func reap(child int, ended chan<- int) {
	for {
		var status syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &status, 0, nil)
		switch {
		case err == syscall.EINTR:
		case err != nil:
			// No children at the moment; a grandchild may become ours later.
			time.Sleep(20 * time.Millisecond)
		case pid == child && status.Signaled():
			ended <- 128 + int(status.Signal())
		case pid == child:
			ended <- status.ExitStatus()
		}
	}
}

// wait returns the child's exit code once it has ended, by itself or because it was made to.
func wait(child int, grace time.Duration, stop <-chan struct{}, ended <-chan int) int {
	select {
	case code := <-ended:
		return code
	case <-stop:
	}
	if grace > 0 {
		_ = syscall.Kill(child, syscall.SIGTERM)
		select {
		case code := <-ended:
			return code
		case <-time.After(grace):
		}
	}
	_ = syscall.Kill(child, syscall.SIGKILL)
	return <-ended
}

func finally(command string) {
	shell, err := syscall.ForkExec("/bin/sh", []string{"sh", "-c", command}, &syscall.ProcAttr{
		Env:   os.Environ(),
		Files: []uintptr{os.Stdin.Fd(), os.Stdout.Fd(), os.Stderr.Fd()},
	})
	if err != nil {
		fmt.Fprintf(os.Stderr, "leash: --finally: %v\n", err)
		return
	}
	waitUntilGone(shell, 10*time.Second)
}

// waitUntilGone polls, because reap takes the exit status of every process.
func waitUntilGone(pid int, limit time.Duration) {
	for deadline := time.Now().Add(limit); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		if syscall.Kill(pid, 0) == syscall.ESRCH {
			return
		}
	}
}
