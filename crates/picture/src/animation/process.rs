//! Runs `ffmpeg` to its end: in a process group of its own, with a limit of time and of what is kept of its words.
//!
//! A terminal and systemd send their signals to whole groups. A process in the server's would be ended with the first of them, while
//! the render still waits for it.

#[cfg(unix)]
use std::os::unix::process::CommandExt;
use std::{
    io::{self, Read},
    process::{Child, ChildStdin, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use super::{super::PictureError, broken};

/// How often the process is looked at.
const LOOK: Duration = Duration::from_millis(10);

/// Bytes of what it says on its standard error that are kept.
const MOST_WORDS: u64 = 4096;

/// When a process is ended, and how much of its output is kept.
pub(super) struct Limits<'a> {
    /// It is killed when it takes longer.
    pub(super) time: Duration,
    /// Bytes of its standard output that are kept, where that is a pipe; what comes after them is thrown away.
    pub(super) output: u64,
    /// Whether its work is not wanted any more.
    pub(super) is_canceled: &'a dyn Fn() -> bool,
}

/// The error of a process that did not do its work.
pub(super) fn failed(reason: impl ToString) -> PictureError {
    PictureError::VideoEncoder(reason.to_string())
}

/// Runs a process to its end and gives what it wrote to its standard output. `feed` writes to its standard input, where that is a
/// pipe.
///
/// # Errors
/// [`PictureError::VideoEncoder`], what `feed` says, and [`PictureError::Encode`] where it was canceled.
pub(super) fn run(
    mut command: Command,
    feed: impl FnOnce(ChildStdin) -> Result<(), PictureError> + Send,
    limits: Limits<'_>,
) -> Result<Vec<u8>, PictureError> {
    #[cfg(unix)]
    command.process_group(0);
    let mut child = command.stderr(Stdio::piped()).spawn().map_err(failed)?;
    let (input, output, words) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let most = limits.output;
    let (ended, fed, written, said) = thread::scope(|scope| {
        let feeder = scope.spawn(move || input.map_or(Ok(()), feed));
        let reader = scope.spawn(move || output.map(|pipe| first(pipe, most)).unwrap_or_default());
        let listener = scope.spawn(move || words.map(|pipe| first(pipe, MOST_WORDS)).unwrap_or_default());
        let ended = wait(&mut child, &limits);
        // A process that is gone has closed its ends of the pipes, so all three come to theirs.
        let fed = feeder.join().unwrap_or_else(|_| Err(broken("a frame could not be unpacked")));
        (ended, fed, reader.join().unwrap_or_default(), listener.join().unwrap_or_default())
    });
    let status = ended?;
    if status.success() {
        return fed.map(|()| written);
    }
    let said = String::from_utf8_lossy(&said);
    let said = said.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join("; ");
    Err(failed(format!("{status}: {said}")))
}

/// Waits for the process; kills it where it is not wanted any more, or takes too long.
fn wait(child: &mut Child, limits: &Limits<'_>) -> Result<ExitStatus, PictureError> {
    let began = Instant::now();
    loop {
        let problem = match child.try_wait() {
            Ok(Some(status)) => return Ok(status),
            Ok(None) if (limits.is_canceled)() => broken("canceled"),
            Ok(None) if began.elapsed() > limits.time => {
                failed(format!("it took longer than {:?}", limits.time))
            }
            Ok(None) => {
                thread::sleep(LOOK);
                continue;
            }
            Err(error) => failed(error),
        };
        // It may have ended by itself meanwhile.
        let _ = child.kill();
        let _ = child.wait();
        return Err(problem);
    }
}

/// The first bytes that come out of a pipe, `most` of them at the most.
fn first(mut pipe: impl Read, most: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    let _ = pipe.by_ref().take(most).read_to_end(&mut bytes);
    // Or the process would wait for a reader.
    let _ = io::copy(&mut pipe, &mut io::sink());
    bytes
}

#[cfg(all(test, unix))]
mod tests {
    use std::io::Write;

    use super::*;

    fn limits(time: Duration) -> Limits<'static> {
        Limits { time, output: 8, is_canceled: &|| false }
    }

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]).stdin(Stdio::null()).stdout(Stdio::piped());
        command
    }

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn what_a_process_is_fed_comes_out_of_it_up_to_a_limit() {
        let mut command = Command::new("cat");
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let feed = |mut pipe: ChildStdin| pipe.write_all(b"0123456789").map_err(failed);
        assert_eq!(run(command, feed, limits(LONG)).unwrap(), b"01234567");
    }

    #[test]
    fn a_process_that_fails_is_told_from_a_picture_that_cannot_be_encoded() {
        let run = |command, time| run(command, |_| Ok(()), limits(time)).unwrap_err();
        let told = [
            (run(shell("echo one >&2; echo two >&2; exit 3"), LONG), "3: one; two"),
            (run(Command::new("/nowhere/ffmpeg"), LONG), "No such file"),
            (run(shell("exec sleep 600"), Duration::ZERO), "longer than"),
        ];
        for (error, expected) in told {
            assert!(matches!(error, PictureError::VideoEncoder(_)), "{error}");
            let error = error.to_string();
            assert!(error.starts_with("ffmpeg failed: ") && error.contains(expected), "{error}");
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_process_leads_a_group_of_its_own() {
        let mut command = Command::new("cut");
        // Its id and its group's.
        command.args(["-d", " ", "-f", "1,5", "/proc/self/stat"]).stdin(Stdio::null()).stdout(Stdio::piped());
        let limits = Limits { output: 100, ..limits(LONG) };
        let told = String::from_utf8(run(command, |_| Ok(()), limits).unwrap()).unwrap();
        let [id, group] = told.split_whitespace().collect::<Vec<_>>()[..] else { panic!("{told}") };
        assert_eq!(id, group);
    }
}
