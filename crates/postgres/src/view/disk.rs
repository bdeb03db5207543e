//! What the overlay asks of the file system below it: little enough to be simulated, power cuts and all.

use rustix::fs::OFlags;
use std::fs::{File, OpenOptions};
use std::io::{Error, ErrorKind, Result};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

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
    /// Bytes that can still be written.
    fn free_bytes(&self) -> Result<u64>;
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

/// The first Linux whose `syncfs` tells what could not be written.
const TELLING_SYNCFS: (u32, u32) = (5, 8);

/// A directory of this machine.
#[derive(Debug, Clone)]
pub(super) struct RealDisk {
    path: PathBuf,
    /// Open since before the first write: a `syncfs` tells of what went wrong since its file was opened, and of what
    /// went wrong before only if nobody was told yet.
    root: Arc<File>,
    is_telling: bool,
}

impl RealDisk {
    pub(super) fn open(path: &Path) -> Result<Self> {
        let root = Arc::new(File::open(path)?);
        let release = rustix::system::uname().release().to_string_lossy().into_owned();
        let is_telling = version(&release).is_none_or(|version| version >= TELLING_SYNCFS);
        Ok(Self { path: path.to_owned(), root, is_telling })
    }
}

/// Of a kernel, as `5.10.0-8-amd64`.
fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

/// Makes what is in a directory durable, one by one.
fn sync_each(directory: &Path) -> Result<()> {
    for entry in std::fs::read_dir(directory)? {
        let (entry, gone) = (entry?, |error: &Error| error.kind() == ErrorKind::NotFound);
        let kind = entry.file_type()?;
        let synced = match (kind.is_dir(), kind.is_file()) {
            (true, _) => sync_each(&entry.path()),
            (_, true) => File::open(entry.path()).and_then(|file| file.sync_all()),
            _ => Ok(()),
        };
        match synced {
            Err(error) if !gone(&error) => return Err(error),
            _ => {}
        }
    }
    File::open(directory)?.sync_all()
}

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
        let path = self.path.join(path);
        match options.open(&path) {
            // A file that nobody may write, not even we: a private key, say.
            Err(error) if error.kind() == ErrorKind::PermissionDenied && how == How::Open => {
                File::open(&path)
            }
            opened => opened,
        }
    }

    fn unlink(&self, path: &str) -> Result<()> {
        std::fs::remove_file(self.path.join(path))
    }

    fn rename(&self, from: &str, to: &str) -> Result<()> {
        std::fs::rename(self.path.join(from), self.path.join(to))
    }

    fn sync_directory(&self, path: &str) -> Result<()> {
        let path = self.path.join(path);
        File::open(path.parent().unwrap_or(Path::new("/")))?.sync_all()
    }

    fn sync(&self) -> Result<()> {
        rustix::fs::syncfs(&self.root).map_err(Error::from)?;
        if self.is_telling { Ok(()) } else { sync_each(&self.path) }
    }

    fn free_bytes(&self) -> Result<u64> {
        let found = rustix::fs::fstatvfs(&self.root)?;
        Ok(found.f_bavail.saturating_mul(found.f_frsize))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_a_sync_of_all_tells_nothing_each_is_synced() {
        assert_eq!(version("5.4.0-8-amd64"), Some((5, 4)));
        assert_eq!(version("6.12-rc1"), Some((6, 12)));
        assert_eq!(version("unknown"), None);
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir(directory.path().join("a")).unwrap();
        std::fs::write(directory.path().join("a/b"), "").unwrap();
        std::os::unix::fs::symlink("nowhere", directory.path().join("link")).unwrap();
        let disk = RealDisk { is_telling: false, ..RealDisk::open(directory.path()).unwrap() };
        disk.sync().unwrap();
        std::fs::remove_dir_all(directory.path()).unwrap();
        disk.sync().unwrap_err();
    }
}
