//! `-it`: a real terminal on this side, one in the container, and both of the same size.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::process::{Child, Command};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use flotilla_testbed::wait_for;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

use crate::bed::{PATIENCE, bed_with_node};

#[test]
fn a_shell_has_a_terminal_that_follows_the_window_over_websockets() {
    shell("shell-ws", "true");
}

#[test]
fn a_shell_has_a_terminal_that_follows_the_window_over_spdy() {
    shell("shell-spdy", "false");
}

fn shell(name: &str, websockets: &str) {
    let Some(bed) = bed_with_node(name) else { return };
    let kubectl = bed.web(name).with("KUBECTL_REMOTE_COMMAND_WEBSOCKETS", websockets);
    let mut terminal = Terminal::start(&kubectl.command("exec -it web -- sh"), 31, 97);
    terminal.wait_for("# ");
    // The size comes on a channel of its own, a moment after the prompt.
    terminal.ask_until("stty size", "31 97");
    terminal.resize(44, 132);
    terminal.ask_until("stty size", "44 132");
    // Ctrl-C goes to the program in the container, not to kubectl.
    terminal.write("sleep 1000\n");
    std::thread::sleep(Duration::from_millis(500));
    terminal.write("\u{3}");
    terminal.ask_until("echo still $((40+2))", "still 42");
    terminal.write("exit 9\n");
    assert_eq!(terminal.wait(), 9, "{}", terminal.text());
}

#[test]
fn run_with_rm_leaves_no_pod() {
    let Some(bed) = bed_with_node("run --rm -it") else { return };
    let kubectl = bed.namespace("run");
    let command = kubectl.command("run -it --rm one --image=flotilla.test/busybox:1 --restart=Never -- sh");
    let mut terminal = Terminal::start(&command, 24, 80);
    terminal.ask_until("echo sum $((40+2))", "sum 42");
    terminal.write("exit\n");
    assert_eq!(terminal.wait(), 0, "{}", terminal.text());
    assert!(terminal.text().contains(r#"pod "one" deleted"#), "{}", terminal.text());
    assert_eq!(kubectl.ok("get pods -o name"), "");
}

/// A program on a terminal of its own, which is its controlling terminal.
pub(crate) struct Terminal {
    child: Child,
    ours: File,
    seen: Arc<Mutex<Vec<u8>>>,
}

impl Terminal {
    pub(crate) fn start(command: &Command, rows: u16, columns: u16) -> Self {
        let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        grantpt(&ours).unwrap();
        unlockpt(&ours).unwrap();
        let theirs = ptsname(&ours, Vec::new()).unwrap();
        let theirs = File::options().read(true).write(true).open(theirs.to_str().unwrap()).unwrap();
        set_size(&ours.try_clone().unwrap(), rows, columns);
        // setsid makes the terminal the controlling one, so that the kernel tells kubectl of a new size.
        let mut started = Command::new("setsid");
        started.arg("--ctty").arg(command.get_program()).args(command.get_args());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => started.env(name, value),
                None => started.env_remove(name),
            };
        }
        started.env("TERM", "xterm");
        started.stdin(theirs.try_clone().unwrap()).stdout(theirs.try_clone().unwrap()).stderr(theirs);
        let child = started.spawn().expect("setsid of util-linux");
        let mut terminal = Self { child, ours: File::from(ours), seen: Arc::default() };
        terminal.follow();
        terminal
    }

    fn follow(&mut self) {
        let (mut from, seen) = (self.ours.try_clone().unwrap(), Arc::clone(&self.seen));
        std::thread::spawn(move || {
            let mut chunk = [0; 4096];
            while let Ok(count @ 1..) = from.read(&mut chunk) {
                seen.lock().unwrap().extend_from_slice(&chunk[..count]);
            }
        });
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.seen.lock().unwrap()).into_owned()
    }

    pub(crate) fn resize(&self, rows: u16, columns: u16) {
        set_size(&OwnedFd::from(self.ours.try_clone().unwrap()), rows, columns);
    }

    pub(crate) fn write(&mut self, text: &str) {
        self.ours.write_all(text.as_bytes()).unwrap();
    }

    #[track_caller]
    pub(crate) fn wait_for(&self, text: &str) {
        let seen = wait_for(text, PATIENCE, || Ok(self.text().contains(text).then_some(())));
        seen.unwrap_or_else(|error| panic!("{error:#}; on the screen: {:?}", self.text()));
    }

    /// Types `line` again and again until `answer` is on the screen.
    #[track_caller]
    pub(crate) fn ask_until(&mut self, line: &str, answer: &str) {
        for _ in 0..40 {
            self.write(&format!("{line}\n"));
            let seen = wait_for(answer, Duration::from_millis(750), || Ok(self.text().contains(answer).then_some(())));
            if seen.is_ok() {
                return;
            }
        }
        panic!("no {answer:?} on the screen: {:?}", self.text());
    }

    #[track_caller]
    pub(crate) fn wait(&mut self) -> i32 {
        let ended = wait_for("the end of the shell", PATIENCE, || Ok(self.child.try_wait()?));
        ended.unwrap_or_else(|error| panic!("{error:#}; on the screen: {:?}", self.text())).code().unwrap_or(-1)
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn set_size(terminal: &OwnedFd, rows: u16, columns: u16) {
    tcsetwinsize(terminal, Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 }).unwrap();
}
