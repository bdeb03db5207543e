//! A disk that loses power: what was not synced vanishes, each page and each length by itself.

use super::disk::{Disk, DiskFile, How};
use std::collections::BTreeMap;
use std::io::{Error, ErrorKind, Result};
use std::sync::{Arc, Mutex, MutexGuard};

const PAGE: usize = 8192;

/// Chosen by the test: one of so many.
pub(super) type Choose<'a> = &'a mut dyn FnMut(usize) -> usize;

#[derive(Debug, Clone)]
enum Pending {
    Write { page: usize, bytes: Vec<u8> },
    Length(usize),
}

#[derive(Debug, Default)]
struct Inode {
    durable: Vec<u8>,
    current: Vec<u8>,
    pending: Vec<Pending>,
    /// Something was lost, and whoever syncs it next is told.
    owes_error: bool,
}

#[derive(Debug, Default)]
struct State {
    inodes: Vec<Inode>,
    names: BTreeMap<String, usize>,
    durable_names: BTreeMap<String, usize>,
    /// States of the names since they were durable, for a journal keeps their order.
    pending_names: Vec<BTreeMap<String, usize>>,
    /// What goes wrong next.
    faults: Vec<Fault>,
    /// Changes that still work; then the machine is off.
    left: Option<usize>,
    is_full: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    Sync,
    Write,
}

#[derive(Debug, Clone, Default)]
pub(super) struct SimDisk(Arc<Mutex<State>>);

#[derive(Debug)]
pub(super) struct SimFile {
    disk: SimDisk,
    inode: usize,
}

impl SimDisk {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    /// A file that is there from the beginning.
    pub(super) fn put(&self, path: &str, length: usize) {
        let mut state = self.state();
        let inode = state.inodes.len();
        let (durable, current) = (vec![0; length], vec![0; length]);
        state.inodes.push(Inode { durable, current, ..Inode::default() });
        state.names.insert(path.to_owned(), inode);
        state.durable_names.insert(path.to_owned(), inode);
    }

    pub(super) fn fail_next(&self, fault: Fault) {
        self.state().faults.push(fault);
    }

    /// The power goes after so many more changes; nothing works then until it is back.
    pub(super) fn off_after(&self, changes: usize) {
        self.state().left = Some(changes);
    }

    /// Next to nothing is left to be written to, or much is.
    pub(super) fn fill(&self, is_full: bool) {
        self.state().is_full = is_full;
    }

    /// It was only the process that was killed.
    pub(super) fn turn_on(&self) {
        self.state().left = None;
    }

    pub(super) fn forget_faults(&self) {
        self.state().faults.clear();
    }

    /// The power goes, and comes back.
    pub(super) fn cut_power(&self, choose: Choose<'_>) {
        let mut state = self.state();
        let kept = choose(state.pending_names.len() + 1);
        if let Some(names) = kept.checked_sub(1).map(|last| state.pending_names[last].clone()) {
            state.durable_names = names;
        }
        state.pending_names.clear();
        state.names = state.durable_names.clone();
        for inode in &mut state.inodes {
            let mut content = std::mem::take(&mut inode.durable);
            for pending in std::mem::take(&mut inode.pending) {
                if choose(2) == 1 {
                    apply(&mut content, &pending);
                }
            }
            inode.current = content.clone();
            inode.durable = content;
            inode.owes_error = false;
        }
        state.faults.clear();
        state.left = None;
    }
}

fn apply(content: &mut Vec<u8>, pending: &Pending) {
    match pending {
        Pending::Write { page, bytes } => {
            let begin = page * PAGE;
            if content.len() < begin + bytes.len() {
                content.resize(begin + bytes.len(), 0);
            }
            content[begin..begin + bytes.len()].copy_from_slice(bytes);
        }
        Pending::Length(length) => content.resize(*length, 0),
    }
}

impl State {
    /// One more change, if the machine is on.
    fn change(&mut self) -> Result<()> {
        match &mut self.left {
            Some(0) => Err(Error::other("the machine is off")),
            Some(left) => {
                *left -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn names_changed(&mut self) {
        let names = self.names.clone();
        self.pending_names.push(names);
    }

    fn names_durable(&mut self) {
        self.durable_names = self.names.clone();
        self.pending_names.clear();
    }

    fn fails(&mut self, fault: Fault) -> bool {
        let found = self.faults.iter().position(|planned| *planned == fault);
        found.map(|at| self.faults.remove(at)).is_some()
    }
}

impl Inode {
    fn push(&mut self, pending: Pending) {
        apply(&mut self.current, &pending);
        self.pending.push(pending);
    }

    /// As Linux does: what could not be written counts as clean, and is gone once it leaves the cache.
    fn lose(&mut self) {
        self.pending.clear();
        self.current = self.durable.clone();
        self.owes_error = true;
    }
}

impl Disk for SimDisk {
    type File = SimFile;

    fn open(&self, path: &str, how: How) -> Result<SimFile> {
        let mut state = self.state();
        let found = state.names.get(path).copied();
        let inode = match (found, how) {
            (Some(inode), How::Open) => inode,
            (None, How::Open) => return Err(ErrorKind::NotFound.into()),
            (Some(_), How::Create(_)) => return Err(ErrorKind::AlreadyExists.into()),
            (None, How::Create(_)) => {
                state.change()?;
                state.inodes.push(Inode::default());
                let inode = state.inodes.len() - 1;
                state.names.insert(path.to_owned(), inode);
                state.names_changed();
                inode
            }
        };
        drop(state);
        Ok(SimFile { disk: self.clone(), inode })
    }

    fn unlink(&self, path: &str) -> Result<()> {
        let mut state = self.state();
        state.change()?;
        state.names.remove(path).ok_or(ErrorKind::NotFound)?;
        state.names_changed();
        Ok(())
    }

    fn rename(&self, from: &str, to: &str) -> Result<()> {
        let mut state = self.state();
        state.change()?;
        let inode = state.names.remove(from).ok_or(ErrorKind::NotFound)?;
        state.names.insert(to.to_owned(), inode);
        state.names_changed();
        Ok(())
    }

    fn sync_directory(&self, _: &str) -> Result<()> {
        let mut state = self.state();
        state.change()?;
        state.names_durable();
        Ok(())
    }

    fn sync(&self) -> Result<()> {
        let mut state = self.state();
        state.change()?;
        if state.fails(Fault::Sync) {
            state.inodes.iter_mut().filter(|inode| !inode.pending.is_empty()).for_each(Inode::lose);
            return Err(Error::from_raw_os_error(5));
        }
        state.names_durable();
        for inode in &mut state.inodes {
            inode.durable = inode.current.clone();
            inode.pending.clear();
        }
        Ok(())
    }

    fn free_bytes(&self) -> Result<u64> {
        Ok(if self.state().is_full { 0 } else { u64::MAX })
    }
}

impl DiskFile for SimFile {
    fn read_at(&self, buffer: &mut [u8], at: u64) -> Result<usize> {
        let state = self.disk.state();
        let content = &state.inodes[self.inode].current;
        let begin = (at as usize).min(content.len());
        let end = (begin + buffer.len()).min(content.len());
        buffer[..end - begin].copy_from_slice(&content[begin..end]);
        Ok(end - begin)
    }

    fn write_at(&self, data: &[u8], at: u64) -> Result<()> {
        let mut state = self.disk.state();
        let mut at = at as usize;
        let mut data = data;
        while !data.is_empty() {
            state.change()?;
            // In the midst of it, as a disk that fills up does.
            if state.fails(Fault::Write) {
                return Err(ErrorKind::StorageFull.into());
            }
            let (page, offset) = (at / PAGE, at % PAGE);
            let (now, rest) = data.split_at(data.len().min(PAGE - offset));
            // A disk writes pages: what lies beside the bytes goes with them.
            let inode = &mut state.inodes[self.inode];
            let begin = page * PAGE;
            let mut bytes = inode.current.get(begin..).unwrap_or_default().to_vec();
            bytes.truncate(PAGE);
            bytes.resize(bytes.len().max(offset + now.len()), 0);
            bytes[offset..offset + now.len()].copy_from_slice(now);
            inode.push(Pending::Write { page, bytes });
            at += now.len();
            data = rest;
        }
        Ok(())
    }

    fn set_len(&self, length: u64) -> Result<()> {
        let mut state = self.disk.state();
        state.change()?;
        state.inodes[self.inode].push(Pending::Length(length as usize));
        Ok(())
    }

    fn len(&self) -> Result<u64> {
        Ok(self.disk.state().inodes[self.inode].current.len() as u64)
    }

    fn allocate(&self, at: u64, length: u64) -> Result<()> {
        let mut state = self.disk.state();
        let inode = &mut state.inodes[self.inode];
        if inode.current.len() < (at + length) as usize {
            inode.push(Pending::Length((at + length) as usize));
        }
        Ok(())
    }

    fn sync(&self) -> Result<()> {
        let mut state = self.disk.state();
        state.change()?;
        if state.fails(Fault::Sync) {
            state.inodes[self.inode].lose();
        }
        if std::mem::take(&mut state.inodes[self.inode].owes_error) {
            return Err(Error::from_raw_os_error(5));
        }
        // A journal commits the names with the file.
        state.names_durable();
        let inode = &mut state.inodes[self.inode];
        inode.durable = inode.current.clone();
        inode.pending.clear();
        Ok(())
    }
}
