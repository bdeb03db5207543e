//! The archives of a base backup, for fuzzing: bytes in, nothing out, no panic, no more held than one frame.

use super::remote::{Archive, FRAMES_WAITING, Frame};
use bytes::Bytes;
use lifeboat_vault::layer::FRAME_BYTES;
use tokio::sync::mpsc;

/// An archive that comes in pieces, whose size the first byte tells.
///
/// # Panics
/// When a frame, or a path, is not what the rest of the backup relies on.
pub fn archive(bytes: &[u8]) {
    let Some((size, bytes)) = bytes.split_first() else { return };
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().build() else { return };
    runtime.block_on(async {
        let (sender, mut frames) = mpsc::channel::<Frame>(FRAMES_WAITING);
        let reader = async {
            while let Some(frame) = frames.recv().await {
                assert!(!frame.raw.is_empty() && frame.raw.len() <= FRAME_BYTES, "a frame of a wrong size");
                assert!(frame.begin % FRAME_BYTES as u64 == 0, "a frame out of line");
            }
        };
        let feeder = async {
            let mut archive = Archive::new(sender, true);
            let pieces = bytes.chunks(usize::from(*size) * 16 + 1);
            let names: [&[u8]; 2] = [b"base.tar\0", b"16400.tar\0"];
            for (number, piece) in pieces.enumerate() {
                let begun = if number % 64 == 0 { archive.begin(names[number / 64 % 2]) } else { Ok(()) };
                if begun.is_err() || archive.feed(Bytes::copy_from_slice(piece)).await.is_err() {
                    return;
                }
            }
            _ = archive.end();
            let escapes = |path: &str| path.starts_with('/') || path.split('/').any(|part| part == "..");
            assert!(!archive.files.iter().any(|file| escapes(&file.path)), "a path that leads out");
        };
        tokio::join!(reader, feeder);
    });
}
