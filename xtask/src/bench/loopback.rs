//! A directory of a vault, shown as a bucket of S3 on this machine: each request waits for a while first, and is counted.
//!
//! As much of S3 as Lifeboat asks for: reading, whole or a range; a head; a listing, on one page; writing what is not
//! there yet; deleting. Signatures are not looked at. The names of objects are names of files, as they are in a
//! directory's copy, so that what was backed up to a directory is recovered from here.
//!
//! Deliberately absent: a bandwidth. Latency is what grows with distance; bytes are counted instead.

use anyhow::Context;
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// Of a head of a request, and of a body that is written.
const HEAD_LINES_LIMIT: usize = 100;
const BODY_LIMIT_BYTES: usize = 256 << 20;
const BUCKET: &str = "bench";
/// Nothing here depends on when it was.
const WRITTEN: &str = "Sun, 01 Nov 2026 00:00:00 GMT";
const WRITTEN_ISO: &str = "2026-11-01T00:00:00Z";

/// What was asked so far.
#[derive(Debug, Default)]
struct Counters {
    gets: AtomicU64,
    others: AtomicU64,
    bytes: AtomicU64,
    wal_gets: AtomicU64,
    wal_bytes: AtomicU64,
}

/// The counts at a moment.
#[derive(Debug, Clone, Copy)]
pub struct Counted {
    /// Reads of objects, whole or in part.
    pub gets: u64,
    /// Listings, heads, writes, deletions.
    pub others: u64,
    /// Of bodies that were sent.
    pub bytes: u64,
    /// Of both, what was WAL.
    pub wal_gets: u64,
    pub wal_bytes: u64,
}

/// A running server; it ends when dropped.
pub struct Loopback {
    address: SocketAddr,
    counters: Arc<Counters>,
    is_over: Arc<AtomicBool>,
}

struct Shown {
    directory: PathBuf,
    latency: Duration,
    counters: Arc<Counters>,
}

impl Loopback {
    /// Shows `directory`.
    pub fn start(directory: &Path, latency: Duration) -> anyhow::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("listen")?;
        let address = listener.local_addr()?;
        let (counters, is_over) = (Arc::<Counters>::default(), Arc::new(AtomicBool::new(false)));
        let shown =
            Arc::new(Shown { directory: directory.to_owned(), latency, counters: Arc::clone(&counters) });
        let ends = Arc::clone(&is_over);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if ends.load(Ordering::Relaxed) {
                    return;
                }
                let shown = Arc::clone(&shown);
                // A connection that breaks is its client's to open again.
                std::thread::spawn(move || shown.serve(&stream).ok());
            }
        });
        Ok(Self { address, counters, is_over })
    }

    /// The vault's address there.
    pub fn vault(&self) -> String {
        format!("s3://{BUCKET}")
    }

    /// What a program needs in its environment to reach it.
    pub fn environment(&self) -> Vec<(&'static str, String)> {
        vec![
            ("AWS_ENDPOINT_URL", format!("http://{}", self.address)),
            ("AWS_ALLOW_HTTP", "true".to_owned()),
            ("AWS_REGION", "us-east-1".to_owned()),
            ("AWS_ACCESS_KEY_ID", "bench".to_owned()),
            ("AWS_SECRET_ACCESS_KEY", "bench".to_owned()),
        ]
    }

    pub fn counted(&self) -> Counted {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counted {
            gets: of(&self.counters.gets),
            others: of(&self.counters.others),
            bytes: of(&self.counters.bytes),
            wal_gets: of(&self.counters.wal_gets),
            wal_bytes: of(&self.counters.wal_bytes),
        }
    }
}

impl Drop for Loopback {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        // So that it sees that.
        let _ = TcpStream::connect(self.address);
    }
}

struct Request {
    method: String,
    key: String,
    query: String,
    range: Option<String>,
    is_for_new: bool,
    body: Vec<u8>,
}

struct Answer {
    status: &'static str,
    headers: String,
    body: Vec<u8>,
    /// What `Content-Length` says where the body is left out.
    length: Option<u64>,
}

impl Answer {
    fn plain(status: &'static str, body: impl Into<Vec<u8>>) -> Self {
        Self { status, headers: String::new(), body: body.into(), length: None }
    }
}

impl Shown {
    fn serve(&self, stream: &TcpStream) -> anyhow::Result<()> {
        stream.set_nodelay(true)?;
        let mut reader = BufReader::new(stream);
        let mut writer = stream;
        while let Some(request) = read_request(&mut reader)? {
            std::thread::sleep(self.latency);
            let is_list = request.key.is_empty();
            let counter =
                if request.method == "GET" && !is_list { &self.counters.gets } else { &self.counters.others };
            counter.fetch_add(1, Ordering::Relaxed);
            let answer = self.answer(&request);
            let length = answer.length.unwrap_or(answer.body.len() as u64);
            self.counters.bytes.fetch_add(answer.body.len() as u64, Ordering::Relaxed);
            if request.method == "GET" && request.key.contains("/wal/") {
                self.counters.wal_gets.fetch_add(1, Ordering::Relaxed);
                self.counters.wal_bytes.fetch_add(answer.body.len() as u64, Ordering::Relaxed);
            }
            let mut bytes =
                format!("HTTP/1.1 {}\r\nContent-Length: {length}\r\n{}\r\n", answer.status, answer.headers)
                    .into_bytes();
            bytes.extend_from_slice(&answer.body);
            writer.write_all(&bytes)?;
        }
        Ok(())
    }

    fn answer(&self, request: &Request) -> Answer {
        let path = self.directory.join(&request.key);
        let done = match (&*request.method, request.key.is_empty()) {
            ("GET", true) => Ok(self.list(&request.query)),
            ("GET" | "HEAD", _) => read(&path, request),
            ("PUT", _) => write(&path, request),
            ("DELETE", _) => std::fs::remove_file(&path).map(|()| Answer::plain("204 No Content", "")),
            _ => Ok(Answer::plain("501 Not Implemented", "")),
        };
        done.unwrap_or_else(|error| match error.kind() {
            std::io::ErrorKind::NotFound => Answer::plain(
                "404 Not Found",
                if request.method == "HEAD" { "" } else { "<Error><Code>NoSuchKey</Code></Error>" },
            ),
            std::io::ErrorKind::AlreadyExists => {
                Answer::plain("412 Precondition Failed", "<Error><Code>PreconditionFailed</Code></Error>")
            }
            _ => Answer::plain("400 Bad Request", error.to_string()),
        })
    }

    fn list(&self, query: &str) -> Answer {
        let asked = |name: &str| {
            let value = query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
            decoded(value.unwrap_or_default())
        };
        let (prefix, after) = (asked("prefix"), asked("start-after"));
        let is_flat = asked("delimiter").is_empty();
        let mut text = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?><ListBucketResult>");
        let mut common = BTreeSet::new();
        let mut count = 0;
        // Only below the directory that the prefix names.
        let parent = prefix.rsplit_once('/').map_or("", |(parent, _)| parent);
        for (key, bytes) in keys(&self.directory, parent) {
            if !key.starts_with(&prefix) || key <= after {
                continue;
            }
            count += 1;
            match key[prefix.len()..].split_once('/') {
                Some((inside, _)) if !is_flat => drop(common.insert(format!("{prefix}{inside}/"))),
                _ => drop(write!(
                    text,
                    "<Contents><Key>{key}</Key><LastModified>{WRITTEN_ISO}</LastModified>\
                     <ETag>\"{bytes}\"</ETag><Size>{bytes}</Size></Contents>"
                )),
            }
        }
        for prefix in common {
            let _ = write!(text, "<CommonPrefixes><Prefix>{prefix}</Prefix></CommonPrefixes>");
        }
        let _ =
            write!(text, "<IsTruncated>false</IsTruncated><KeyCount>{count}</KeyCount></ListBucketResult>");
        let mut answer = Answer::plain("200 OK", text);
        answer.headers = "Content-Type: application/xml\r\n".to_owned();
        answer
    }
}

/// All files below `parent`, with their sizes, sorted by name.
fn keys(directory: &Path, parent: &str) -> Vec<(String, u64)> {
    let mut found = Vec::new();
    let mut left = vec![parent.to_owned()];
    while let Some(place) = left.pop() {
        for entry in std::fs::read_dir(directory.join(&place)).into_iter().flatten().flatten() {
            let (Ok(name), Ok(metadata)) = (entry.file_name().into_string(), entry.metadata()) else {
                continue;
            };
            let key = if place.is_empty() { name } else { format!("{place}/{name}") };
            if metadata.is_dir() {
                left.push(key);
            } else if !key.contains('#') {
                found.push((key, metadata.len()));
            }
        }
    }
    found.sort();
    found
}

fn read(path: &Path, request: &Request) -> std::io::Result<Answer> {
    let mut file = File::open(path)?;
    let metadata = file.metadata()?;
    if metadata.is_dir() {
        return Err(std::io::ErrorKind::NotFound.into());
    }
    let length = metadata.len();
    let mut answer = Answer::plain("200 OK", "");
    answer.headers = format!("ETag: \"{length}\"\r\nLast-Modified: {WRITTEN}\r\n");
    let (start, end) = match request.range.as_deref().and_then(|range| range.strip_prefix("bytes=")) {
        None => (0, length),
        Some(range) => {
            let (start, end) = match range.split_once('-') {
                Some(("", last)) => (length.saturating_sub(last.parse().unwrap_or(0)), length),
                Some((start, "")) => (start.parse().unwrap_or(0), length),
                Some((start, end)) => {
                    (start.parse().unwrap_or(0), end.parse::<u64>().map_or(length, |end| end + 1).min(length))
                }
                None => (0, length),
            };
            if start >= end {
                return Ok(Answer::plain("416 Range Not Satisfiable", ""));
            }
            answer.status = "206 Partial Content";
            let _ = write!(answer.headers, "Content-Range: bytes {start}-{}/{length}\r\n", end - 1);
            (start, end)
        }
    };
    if request.method == "HEAD" {
        answer.length = Some(length);
        return Ok(answer);
    }
    file.seek(SeekFrom::Start(start))?;
    file.take(end - start).read_to_end(&mut answer.body)?;
    Ok(answer)
}

fn write(path: &Path, request: &Request) -> std::io::Result<Answer> {
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent)?;
    }
    let mut options = File::options();
    options.write(true);
    if request.is_for_new {
        options.create_new(true);
    } else {
        options.create(true).truncate(true);
    }
    options.open(path)?.write_all(&request.body)?;
    let mut answer = Answer::plain("200 OK", "");
    answer.headers = format!("ETag: \"{}\"\r\n", request.body.len());
    Ok(answer)
}

/// The next request of a connection; none at its end.
fn read_request(reader: &mut BufReader<&TcpStream>) -> anyhow::Result<Option<Request>> {
    let mut line = String::new();
    if reader.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let mut words = line.split_whitespace();
    let method = words.next().unwrap_or_default().to_owned();
    let target = words.next().unwrap_or_default().to_owned();
    let (path, query) = target.split_once('?').unwrap_or((&target, ""));
    let key = path.trim_start_matches('/').strip_prefix(BUCKET).unwrap_or_default();
    let key = decoded(key.trim_start_matches('/'));
    anyhow::ensure!(!key.split('/').any(|part| part == ".."), "a key that leads elsewhere: {key}");
    let mut request =
        Request { method, key, query: query.to_owned(), range: None, is_for_new: false, body: Vec::new() };
    let mut length = 0;
    for _ in 0..HEAD_LINES_LIMIT {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        match &*name.to_ascii_lowercase() {
            "range" => request.range = Some(value.trim().to_owned()),
            "if-none-match" => request.is_for_new = true,
            "content-length" => length = value.trim().parse::<usize>()?,
            _ => {}
        }
    }
    anyhow::ensure!(length <= BODY_LIMIT_BYTES, "a body of {length} bytes");
    request.body = vec![0; length];
    reader.read_exact(&mut request.body)?;
    Ok(Some(request))
}

/// Without percent signs.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        let hex = after.get(..2).and_then(|hex| u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok());
        match hex.filter(|_| *first == b'%') {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[2..];
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
