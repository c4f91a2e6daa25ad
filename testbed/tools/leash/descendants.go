package main

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// killLimit bounds the killing: a process in uninterruptible sleep must not hold the leash for ever.
const killLimit = 10 * time.Second

// killDescendants kills until no descendant is left. One pass is not enough: a process may fork between being seen and
// being killed, and its child then becomes ours.
func killDescendants() {
	deadline := time.Now().Add(killLimit)
	for pause := time.Millisecond; time.Now().Before(deadline); pause = min(2*pause, 50*time.Millisecond) {
		left := descendants(os.Getpid())
		if len(left) == 0 {
			return
		}
		for _, pid := range left {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
		time.Sleep(pause)
	}
	fmt.Fprintf(os.Stderr, "leash: gave up on processes %v\n", descendants(os.Getpid()))
}

// descendants lists the processes below ancestor, whatever their depth.
func descendants(ancestor int) []int {
	children := map[int][]int{}
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	for _, entry := range entries {
		pid, err := strconv.Atoi(entry.Name())
		if err != nil {
			continue
		}
		if parent, known := parentOf(pid); known {
			children[parent] = append(children[parent], pid)
		}
	}
	var found []int
	for queue := []int{ancestor}; len(queue) > 0; queue = queue[1:] {
		found = append(found, children[queue[0]]...)
		queue = append(queue, children[queue[0]]...)
	}
	return found
}

// parentOf reads field 4 of /proc/PID/stat; field 2, the name, may itself contain spaces and parentheses.
func parentOf(pid int) (int, bool) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, false // it has ended meanwhile
	}
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	if len(fields) < 2 {
		return 0, false
	}
	parent, err := strconv.Atoi(fields[1])
	return parent, err == nil
}
