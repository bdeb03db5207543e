//! Asks a server whether it accepts connections, as a client would.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

/// For one answer; then it is asked anew.
const ANSWER_LIMIT: Duration = Duration::from_secs(5);
/// Protocol 3.0, user and database `postgres`, preceded by its length.
/// Source: PostgreSQL manual, "Message Formats", StartupMessage.
const STARTUP: &[u8] = b"\0\0\0\x29\0\x03\0\0user\0postgres\0database\0postgres\0\0";
/// "The database system is starting up", and the like.
const CANNOT_CONNECT_NOW: &[u8] = b"C57P03\0";

/// Whether the server on this socket takes clients; false while it starts or is not there.
pub(super) fn accepts_connections(socket: &Path) -> bool {
    let Ok(answer) = ask(socket) else { return false };
    match answer.first() {
        Some(b'R') => true,
        // Any other refusal comes from a server that is up.
        Some(b'E') => !answer.windows(CANNOT_CONNECT_NOW.len()).any(|part| part == CANNOT_CONNECT_NOW),
        _ => false,
    }
}

fn ask(socket: &Path) -> std::io::Result<Vec<u8>> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(ANSWER_LIMIT))?;
    stream.write_all(STARTUP)?;
    let mut answer = vec![0; 512];
    let length = stream.read(&mut answer)?;
    answer.truncate(length);
    // Without a goodbye the server would log that the client had vanished.
    let _ = stream.write_all(b"X\0\0\0\x04");
    Ok(answer)
}
