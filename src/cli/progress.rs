//! Progress bars, on a terminal only: of a render (frame, octave, iteration, score, time left), of an atlas and of a download.

use indicatif::{ProgressBar, ProgressStyle};

use reverie_dream::progress::Progress;

/// Steps of the bar; fine enough to move with every iteration.
const STEPS: u64 = 1000;

/// A bar on stderr; invisible if stderr is not a terminal (indicatif checks). `place` stands before it, such as `2 of 7`.
pub(super) fn bar(place: &str) -> ProgressBar {
    let bar = ProgressBar::new(STEPS);
    let template = "{prefix}{bar:32} {percent:>3}%  {msg}  {eta} left";
    bar.set_style(ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()));
    if !place.is_empty() {
        bar.set_prefix(format!("{place}  "));
    }
    bar
}

/// A bar on stderr over work that takes so many seconds on the machine that work is measured by. It tells no time left before
/// [`is_warm`].
pub(super) fn work(seconds: f64) -> ProgressBar {
    let bar = ProgressBar::new(in_steps(seconds));
    let style = ProgressStyle::with_template("{bar:32} {percent:>3}%  {msg}");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar
}

/// Has the bar tell the time left, by what is done from now on: before, the machine was measured and memory was mapped.
pub(super) fn is_warm(bar: &ProgressBar) {
    let style = ProgressStyle::with_template("{bar:32} {percent:>3}%  {msg}  {eta} left");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar.reset_eta();
}

/// Steps of [`work`]'s bar.
pub(super) fn in_steps(seconds: f64) -> u64 {
    (seconds * 1e6) as u64
}

/// A bar on stderr that counts bytes.
pub(super) fn bytes() -> ProgressBar {
    let bar = ProgressBar::new(0);
    let style =
        ProgressStyle::with_template("{bar:32} {bytes} of {total_bytes}  {bytes_per_sec}  {eta} left");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar
}

/// Updates the bar.
pub(super) fn show(bar: &ProgressBar, progress: &Progress) {
    let Progress { fraction, octave, octaves, iteration, iterations, iterations_per_second, score, .. } =
        progress;
    let frame = progress.frame.zip(progress.frames);
    let frame = frame.map(|(frame, frames)| format!("frame {frame}/{frames}  ")).unwrap_or_default();
    bar.set_position((fraction * STEPS as f64) as u64);
    bar.set_message(format!(
        "{frame}octave {octave}/{octaves}  iteration {iteration}/{iterations}  {iterations_per_second:.1}/s  score {score:.4}"
    ));
}
