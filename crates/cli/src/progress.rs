//! How far a long command is: a bar with rate and time left for a person, a quiet line now and then for a log.

use crate::output::Output;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use lifeboat_base::{ByteCount, format_duration};
use std::time::{Duration, Instant};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// Between two looks while a person watches.
const FRAME: Duration = Duration::from_millis(200);
/// Between two lines in a log.
const LINE: Duration = Duration::from_secs(10);

/// Bytes done, and bytes in all: zero while that is not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reading {
    /// Done.
    pub done: u64,
    /// In all.
    pub total: u64,
}

/// Shows progress until it is finished or dropped.
#[derive(Debug)]
pub struct Progress {
    stop: Option<oneshot::Sender<()>>,
    task: Option<JoinHandle<()>>,
}

impl Progress {
    /// Shows what `read` tells, under `label`.
    #[must_use]
    pub fn start(output: &Output, label: &str, read: impl Fn() -> Reading + Send + 'static) -> Self {
        let (stop, stopped) = oneshot::channel();
        let (output, label) = (output.clone(), label.to_owned());
        let task = if output.is_watched() {
            tokio::spawn(draw(label, read, stopped))
        } else {
            tokio::spawn(tell(output, label, read, stopped))
        };
        Self { stop: Some(stop), task: Some(task) }
    }

    /// Says how it ended.
    pub async fn finish(mut self) {
        self.stop.take();
        if let Some(task) = self.task.take() {
            // A display that failed is no failure of what it showed.
            let _ = task.await;
        }
    }
}

async fn draw(label: String, read: impl Fn() -> Reading, mut stopped: oneshot::Receiver<()>) {
    let bar = ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::stderr());
    let template = "{msg} [{wide_bar}] {binary_bytes}/{binary_total_bytes} {binary_bytes_per_sec} {eta} left";
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style.progress_chars("=> "));
    }
    bar.set_message(label.clone());
    let started = Instant::now();
    loop {
        let reading = read();
        bar.set_length(reading.total.max(reading.done));
        bar.set_position(reading.done);
        if tokio::time::timeout(FRAME, &mut stopped).await.is_ok() {
            break;
        }
    }
    bar.finish_and_clear();
    bar.println(ended(&label, read(), started.elapsed()));
}

async fn tell(output: Output, label: String, read: impl Fn() -> Reading, mut stopped: oneshot::Receiver<()>) {
    let started = Instant::now();
    while tokio::time::timeout(LINE, &mut stopped).await.is_err() {
        output.say(under_way(&label, read(), started.elapsed()));
    }
    output.say(ended(&label, read(), started.elapsed()));
}

fn rate(bytes: u64, elapsed: Duration) -> ByteCount {
    ByteCount((bytes as f64 / elapsed.as_secs_f64().max(0.001)) as u64)
}

fn under_way(label: &str, Reading { done, total }: Reading, elapsed: Duration) -> String {
    let rate = rate(done, elapsed);
    let mut text = format!("{label}: {}", ByteCount(done));
    if total > 0 {
        text.push_str(&format!(" of {} ({}%)", ByteCount(total), done.min(total) * 100 / total));
    }
    text.push_str(&format!(", {rate}/s"));
    if total > done && rate.0 > 0 {
        let left = Duration::from_secs((total - done) / rate.0);
        text.push_str(&format!(", {} left", format_duration(left)));
    }
    text
}

fn ended(label: &str, reading: Reading, elapsed: Duration) -> String {
    let rate = rate(reading.done, elapsed);
    format!("{label}: {} in {}, {rate}/s", ByteCount(reading.done), format_duration(elapsed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_tell_rate_and_time_left() {
        let reading = Reading { done: 10 << 20, total: 40 << 20 };
        let line = under_way("backup", reading, Duration::from_secs(10));
        assert_eq!(line, "backup: 10.0 MiB of 40.0 MiB (25%), 1.0 MiB/s, 30.0s left");
        let unknown = Reading { done: 10 << 20, total: 0 };
        assert_eq!(under_way("backup", unknown, Duration::from_secs(10)), "backup: 10.0 MiB, 1.0 MiB/s");
    }
}
