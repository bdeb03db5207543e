//! What the overlay asks of the file system below it: little enough to be simulated, power cuts and all.

use rustix::fs::OFlags;
use std::fs::{File, OpenOptions};
use std::io::{Error, ErrorKind, Result};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// A directory on a disk.
pub(super) trait Disk: Send + Sync + 'static {
    /// An open file of it.
    type File: DiskFile;

    /// Opens `path`, below the directory.
    fn open(&self, path: &str, how: How) -> Result<Self::File>;
    /// Removes a file.
    fn unlink(&self, path: &str) -> Result<()>;
    /// Renames a file over whatever is there.
    fn rename(&self, from: &str, to: &str) -> Result<()>;
    /// Makes names in the directory of `path` durable.
    fn sync_directory(&self, path: &str) -> Result<()>;
    /// Makes everything durable.
    fn sync(&self) -> Result<()>;
}

/// How a file is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum How {
    /// It must be there.
    Open,
    /// It must not be there, and gets this mode.
    Create(u32),
}

/// An open file.
pub(super) trait DiskFile: Send + Sync + 'static {
    /// Reads as much as there is, `buffer.len()` at most.
    fn read_at(&self, buffer: &mut [u8], at: u64) -> Result<usize>;
    /// Writes all of it.
    fn write_at(&self, data: &[u8], at: u64) -> Result<()>;
    /// Makes it so long.
    fn set_len(&self, length: u64) -> Result<()>;
    /// How long it is.
    fn len(&self) -> Result<u64>;
    /// Reserves room, and makes it at least so long.
    fn allocate(&self, at: u64, length: u64) -> Result<()>;
    /// Makes content and length durable.
    fn sync(&self) -> Result<()>;
}

/// A directory of this machine.
#[derive(Debug, Clone)]
pub(super) struct RealDisk(pub(super) PathBuf);

impl Disk for RealDisk {
    type File = File;

    fn open(&self, path: &str, how: How) -> Result<File> {
        let mut options = OpenOptions::new();
        options.read(true).write(true);
        // The kernel follows links before it asks for a file: one that has a file's name now is none.
        options.custom_flags(OFlags::NOFOLLOW.bits() as i32);
        if let How::Create(mode) = how {
            options.create_new(true).mode(mode);
        }
        let path = self.0.join(path);
        match options.open(&path) {
            // A file that nobody may write, not even we: a private key, say.
            Err(error) if error.kind() == ErrorKind::PermissionDenied && how == How::Open => {
                File::open(&path)
            }
            opened => opened,
        }
    }

    fn unlink(&self, path: &str) -> Result<()> {
        std::fs::remove_file(self.0.join(path))
    }

    fn rename(&self, from: &str, to: &str) -> Result<()> {
        std::fs::rename(self.0.join(from), self.0.join(to))
    }

    fn sync_directory(&self, path: &str) -> Result<()> {
        let path = self.0.join(path);
        File::open(path.parent().unwrap_or(Path::new("/")))?.sync_all()
    }

    fn sync(&self) -> Result<()> {
        rustix::fs::syncfs(File::open(&self.0)?).map_err(Error::from)
    }
}

impl DiskFile for File {
    fn read_at(&self, buffer: &mut [u8], at: u64) -> Result<usize> {
        let mut read = 0;
        while read < buffer.len() {
            match FileExt::read_at(self, &mut buffer[read..], at + read as u64) {
                Ok(0) => break,
                Ok(more) => read += more,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(read)
    }

    fn write_at(&self, data: &[u8], at: u64) -> Result<()> {
        self.write_all_at(data, at)
    }

    fn set_len(&self, length: u64) -> Result<()> {
        File::set_len(self, length)
    }

    fn len(&self) -> Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn allocate(&self, at: u64, length: u64) -> Result<()> {
        let flags = rustix::fs::FallocateFlags::empty();
        rustix::fs::fallocate(self, flags, at, length).map_err(Error::from)
    }

    fn sync(&self) -> Result<()> {
        self.sync_data()
    }
}
