// SPDX-License-Identifier: Apache-2.0

// How k3s looks in a list of processes.
package main

import (
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"unsafe"
)

// setTitle makes /proc/self/cmdline one string, with NULs behind it for as long as the arguments were. Go's
// os.Args lie in that memory: what is still wanted of them was copied before.
func setTitle(title string) {
	length := -1
	for _, arg := range os.Args {
		length += len(arg) + 1
	}
	start := *(**byte)(unsafe.Pointer(&os.Args[0])) // a string begins with its pointer
	memory := unsafe.Slice(start, length)
	for i := copy(memory, title); i < length; i++ {
		memory[i] = 0
	}
}

// The variable by which k3s knows the child of a k3s that logs to a file.
const logChild = "_K3S_LOG_REEXEC_"

// runLogging starts the child that does the work, with its output in the file, and ends when it ends. systemd
// hears READY=1 at once, of this process: the child may not speak to it. SIGTERM ends this process alone; the
// kernel then passes it on to the child.
func runLogging(name string, args []string, file string) {
	output, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		fatal(err.Error())
	}
	runtime.LockOSThread() // the child's signal comes when the thread ends that has started it
	child := &exec.Cmd{
		Path: "/proc/self/exe", Args: append([]string{"k3s"}, args...),
		Env:    append(os.Environ(), logChild+"=true", "NOTIFY_SOCKET="),
		Stdout: output, Stderr: output,
		SysProcAttr: &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM},
	}
	if err := child.Start(); err != nil {
		fatal(err.Error())
	}
	setTitle(name + " init")
	notify("READY=1")
	child.Wait()
	os.Exit(child.ProcessState.ExitCode())
}
