package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// unmountBelow detaches everything mounted below dir, the last mounted first.
func unmountBelow(dir string) {
	if resolved, err := filepath.EvalSymlinks(dir); err == nil {
		dir = resolved // mountinfo holds resolved paths
	}
	points := mountPoints()
	for i := len(points) - 1; i >= 0; i-- {
		if !strings.HasPrefix(points[i], strings.TrimSuffix(dir, "/")+"/") {
			continue
		}
		if err := syscall.Unmount(points[i], syscall.MNT_DETACH); err != nil {
			fmt.Fprintf(os.Stderr, "leash: unmount %s: %v\n", points[i], err)
		}
	}
}

// mountPoints reads field 5 of /proc/self/mountinfo, in which white space is written as octal escapes (proc(5)).
func mountPoints() []string {
	table, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil
	}
	var points []string
	for line := range strings.Lines(string(table)) {
		fields := strings.Fields(line)
		if len(fields) > 4 {
			points = append(points, unescape(fields[4]))
		}
	}
	return points
}

func unescape(escaped string) string {
	var plain strings.Builder
	for i := 0; i < len(escaped); i++ {
		if escaped[i] == '\\' && i+3 < len(escaped) {
			if code, err := strconv.ParseUint(escaped[i+1:i+4], 8, 8); err == nil {
				plain.WriteByte(byte(code))
				i += 3
				continue
			}
		}
		plain.WriteByte(escaped[i])
	}
	return plain.String()
}
