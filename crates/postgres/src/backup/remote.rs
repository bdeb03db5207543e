//! Reads a base backup over the replication connection, from any server that can be reached.
//!
//! The server sends one tar archive for the data directory and one for each tablespace; it is taken apart
//! as it comes, and worker threads compress and seal.
//!
//! Source: PostgreSQL manual, "Streaming Replication Protocol", `BASE_BACKUP`.

use super::damage::Findings;
use super::filler::{Filler, write_packs};
use super::{BackupError, BackupOptions, Server, Taken, is_our_own, pages};
use crate::client::{CommandEvent, Connection, Purpose, quote_replication_literal};
use bytes::{Buf, Bytes};
use lifeboat_base::Lsn;
use lifeboat_pgformat::{
    BACKUP_LABEL_FILE, ControlFile, PAGE_SIZE_BYTES, PG_CONTROL_PATH, RelationFile, TABLESPACE_MAP_FILE,
};
use lifeboat_vault::layer::{FRAME_BYTES, FileEntry, FileKind, LayerWriter};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::mpsc;

/// Frames that wait for a thread.
pub(super) const FRAMES_WAITING: usize = 16;
/// Labels and maps are small; what claims to be larger is not one.
const LABEL_LIMIT_BYTES: u64 = 1 << 20;
const TAR_BLOCK: usize = 512;

/// A run of one file, for one thread.
pub(super) struct Frame {
    path: Arc<str>,
    pub(super) begin: u64,
    pub(super) raw: Vec<u8>,
}

pub(super) async fn take(
    options: &BackupOptions,
    server: &Server,
    writer: &Arc<LayerWriter>,
    label: &str,
) -> Result<Taken, BackupError> {
    let connected = Connection::connect(&options.conninfo, Purpose::Replication).await;
    let mut connection = connected.map_err(BackupError::Server)?;
    let (packs_in, packs_out) = mpsc::channel(1);
    let packs = tokio::spawn(write_packs(writer.clone(), packs_out));
    let (frames_in, frames_out) = mpsc::channel::<Frame>(FRAMES_WAITING);
    let frames_out = Arc::new(Mutex::new(frames_out));
    let threads: Vec<_> = (0..options.workers.max(1))
        .map(|_| {
            let mut filler = Filler::new(writer, &options.progress, packs_in.clone());
            let frames = frames_out.clone();
            tokio::task::spawn_blocking(move || {
                loop {
                    let frame = frames.lock().unwrap_or_else(PoisonError::into_inner).blocking_recv();
                    match frame {
                        Some(frame) => filler.add(&frame.path, frame.begin, &frame.raw)?,
                        None => return filler.flush(),
                    }
                }
            })
        })
        .collect();
    drop((packs_in, frames_out));
    let read = read(options, server, &mut connection, label, frames_in).await;
    let mut outcomes = Vec::new();
    for thread in threads {
        outcomes.push(thread.await.map_err(ended)?);
    }
    // The vault's error is the cause when the others only found their way closed.
    packs.await.map_err(ended)??;
    outcomes.into_iter().collect::<Result<Vec<()>, _>>()?;
    let taken = read?;
    connection.close().await;
    Ok(taken)
}

fn ended(error: tokio::task::JoinError) -> BackupError {
    BackupError::Unexpected(format!("a thread of the backup ended: {error}"))
}

async fn read(
    options: &BackupOptions,
    server: &Server,
    connection: &mut Connection,
    label: &str,
    frames: mpsc::Sender<Frame>,
) -> Result<Taken, BackupError> {
    let unexpected = |what: &str| BackupError::Unexpected(what.to_owned());
    // KiB a second, at least 32 by PostgreSQL's rule.
    let rate = options.rate.map(|rate| format!(", MAX_RATE {}", (rate / 1024).clamp(32, 1024 * 1024)));
    let command = format!(
        "BASE_BACKUP (LABEL {}, CHECKPOINT 'fast', WAL false, WAIT false, TABLESPACE_MAP true, MANIFEST 'no', VERIFY_CHECKSUMS false{})",
        quote_replication_literal(label),
        rate.unwrap_or_default()
    );
    let mut stream = connection.stream(&command).await.map_err(BackupError::Server)?;
    let mut positions = Vec::new();
    let mut archive = Archive::new(frames, server.checksums);
    let mut results = 0;
    while let Some(event) = stream.next().await.map_err(BackupError::Server)? {
        match event {
            CommandEvent::Columns(_) => results += 1,
            // First result: where it starts. Second: tablespaces. Last: where it stops.
            CommandEvent::Row(row) if results != 2 => {
                let position: Option<Lsn> = row.at(0).and_then(|text| text.parse().ok());
                positions.push(position.ok_or_else(|| unexpected("no position"))?);
            }
            CommandEvent::Data(mut data) if data.has_remaining() => match data.get_u8() {
                b'n' => archive.begin(&data)?,
                b'd' => archive.feed(data).await?,
                // The manifest, which we did not ask for, and progress.
                _ => {}
            },
            _ => {}
        }
    }
    archive.end()?;
    let stop = match positions[..] {
        [_, stop] => stop,
        _ => return Err(unexpected("a base backup without start and stop")),
    };
    Ok(Taken {
        files: archive.files,
        findings: archive.findings,
        label: archive.label,
        tablespace_map: archive.tablespace_map,
        stop,
    })
}

/// Where the tar parser stands.
enum State {
    Header,
    /// Inside a member: bytes of content to come, then of padding.
    Content {
        left: u64,
        padding: usize,
    },
    Padding {
        left: usize,
    },
}

/// What a member's content is for.
enum Member {
    File { path: Arc<str>, relation: Option<RelationFile>, begin: u64, frame: Vec<u8>, length: u64 },
    Label,
    TablespaceMap,
    Ignored,
}

/// Takes archives apart.
pub(super) struct Archive {
    frames: mpsc::Sender<Frame>,
    checksums: bool,
    prefix: String,
    state: State,
    header: Vec<u8>,
    member: Member,
    pub(super) files: Vec<FileEntry>,
    findings: Findings,
    label: Vec<u8>,
    tablespace_map: Vec<u8>,
}

impl Archive {
    pub(super) fn new(frames: mpsc::Sender<Frame>, checksums: bool) -> Self {
        Self {
            frames,
            checksums,
            prefix: String::new(),
            state: State::Header,
            header: Vec::with_capacity(TAR_BLOCK),
            member: Member::Ignored,
            files: Vec::new(),
            findings: Findings::default(),
            label: Vec::new(),
            tablespace_map: Vec::new(),
        }
    }

    /// A new archive: `base.tar`, or `<oid>.tar` of a tablespace.
    pub(super) fn begin(&mut self, message: &[u8]) -> Result<(), BackupError> {
        self.end()?;
        let name = message.split(|byte| *byte == 0).next().unwrap_or_default();
        let name = std::str::from_utf8(name).unwrap_or_default();
        let oid = name.strip_suffix(".tar").filter(|oid| oid.bytes().all(|b| b.is_ascii_digit()));
        self.prefix = oid.map(|oid| format!("pg_tblspc/{oid}/")).unwrap_or_default();
        if let Some(oid) = oid {
            self.push(format!("pg_tblspc/{oid}"), FileKind::Directory, 0, 0o700);
        }
        Ok(())
    }

    /// The archive must not end inside a member.
    pub(super) fn end(&mut self) -> Result<(), BackupError> {
        self.header.clear();
        match self.state {
            State::Header | State::Padding { left: 0 } => {
                self.state = State::Header;
                Ok(())
            }
            _ => Err(BackupError::Unexpected("an archive that ends inside a file".to_owned())),
        }
    }

    fn push(&mut self, path: String, kind: FileKind, length: u64, mode: u32) {
        self.files.push(FileEntry::new(path, kind, length, mode));
    }

    pub(super) async fn feed(&mut self, mut data: Bytes) -> Result<(), BackupError> {
        while data.has_remaining() {
            match &mut self.state {
                State::Header => {
                    let take = (TAR_BLOCK - self.header.len()).min(data.len());
                    self.header.extend_from_slice(&data.split_to(take));
                    if self.header.len() == TAR_BLOCK {
                        self.open_member()?;
                        self.header.clear();
                    }
                }
                State::Content { left, padding } => {
                    let take = usize::try_from(*left).unwrap_or(usize::MAX).min(data.len());
                    *left -= take as u64;
                    let ends = *left == 0;
                    if ends {
                        self.state = State::Padding { left: *padding };
                    }
                    let content = data.split_to(take);
                    self.content(&content).await?;
                    if ends {
                        self.close_member().await?;
                    }
                }
                State::Padding { left } => {
                    let take = (*left).min(data.len());
                    *left -= take;
                    data.advance(take);
                    if *left == 0 {
                        self.state = State::Header;
                    }
                }
            }
        }
        // A member whose padding is empty ends with its last byte.
        if matches!(self.state, State::Padding { left: 0 }) {
            self.state = State::Header;
        }
        Ok(())
    }

    fn open_member(&mut self) -> Result<(), BackupError> {
        if self.header.iter().all(|byte| *byte == 0) {
            return Ok(());
        }
        let malformed = |what: &str| BackupError::Unexpected(format!("a tar header without {what}"));
        let mut header = tar::Header::new_old();
        header.as_mut_bytes().copy_from_slice(&self.header);
        let name = header.path_bytes();
        let name = std::str::from_utf8(&name).map_err(|_| malformed("a UTF-8 name"))?;
        let name = name.strip_prefix("./").unwrap_or(name).trim_end_matches('/');
        let path = format!("{}{name}", self.prefix);
        let size = header.size().map_err(|_| malformed("a size"))?;
        let mode = header.mode().map_err(|_| malformed("a mode"))? & 0o7777;
        let kind = header.entry_type();
        let escapes = name.split('/').any(|part| part == "..") || name.starts_with('/');
        if escapes {
            return Err(BackupError::Unexpected(format!("a file outside the data directory: {name}")));
        }
        self.member = Member::Ignored;
        if kind.is_dir() {
            if !name.is_empty() && !is_our_own(&path) {
                self.push(path, FileKind::Directory, 0, mode);
            }
        } else if kind.is_file() && path == BACKUP_LABEL_FILE && size <= LABEL_LIMIT_BYTES {
            self.member = Member::Label;
        } else if kind.is_file() && path == TABLESPACE_MAP_FILE && size <= LABEL_LIMIT_BYTES {
            self.member = Member::TablespaceMap;
        } else if kind.is_file() && !is_our_own(&path) {
            let relation = RelationFile::parse(&path);
            // A page half appended is WAL's to write.
            let length = if relation.is_some() { size - size % PAGE_SIZE_BYTES as u64 } else { size };
            let relation = relation.filter(|_| self.checksums);
            self.push(path.clone(), FileKind::File, length, mode);
            self.member = Member::File { path: path.into(), relation, begin: 0, frame: Vec::new(), length };
        }
        let padding = (TAR_BLOCK as u64 - size % TAR_BLOCK as u64) as usize % TAR_BLOCK;
        // Links have no content; tablespaces are in archives of their own.
        self.state =
            if size == 0 || !kind.is_file() { State::Header } else { State::Content { left: size, padding } };
        Ok(())
    }

    async fn content(&mut self, mut content: &[u8]) -> Result<(), BackupError> {
        match &mut self.member {
            Member::Ignored => {}
            Member::Label => self.label.extend_from_slice(content),
            Member::TablespaceMap => self.tablespace_map.extend_from_slice(content),
            Member::File { .. } => {
                while !content.is_empty() {
                    let Member::File { frame, .. } = &mut self.member else { break };
                    let take = (FRAME_BYTES - frame.len()).min(content.len());
                    if frame.capacity() == 0 {
                        frame.reserve_exact(FRAME_BYTES);
                    }
                    frame.extend_from_slice(&content[..take]);
                    content = &content[take..];
                    if frame.len() == FRAME_BYTES {
                        self.send_frame().await?;
                    }
                }
            }
        }
        Ok(())
    }

    async fn close_member(&mut self) -> Result<(), BackupError> {
        self.send_frame().await?;
        self.member = Member::Ignored;
        Ok(())
    }

    async fn send_frame(&mut self) -> Result<(), BackupError> {
        let Member::File { path, relation, begin, frame, length } = &mut self.member else { return Ok(()) };
        let mut raw = std::mem::take(frame);
        raw.truncate((*length - *begin) as usize);
        if raw.is_empty() {
            return Ok(());
        }
        if let Some(relation) = relation {
            // What came over the wire cannot be read again here; at the end the server is asked (D2).
            for suspect in pages::suspects(relation, *begin, &raw) {
                self.findings.add(path, suspect, false);
            }
        }
        if &**path == PG_CONTROL_PATH && ControlFile::parse(&raw).is_err() {
            return Err(BackupError::TornControl);
        }
        let sent = Frame { path: path.clone(), begin: *begin, raw };
        *begin += sent.raw.len() as u64;
        // The threads are gone when one failed; its error is the one to tell.
        self.frames.send(sent).await.map_err(|_| BackupError::Cancelled)
    }
}
