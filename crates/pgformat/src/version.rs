//! Which major version of PostgreSQL wrote some bytes.
//!
//! Each kind of file says it in its own way; all ways lead to [`MajorVersion`], and a version that is not
//! read here is refused by name instead of being decoded wrongly.

use std::fmt;

/// A major version of PostgreSQL whose formats are read here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MajorVersion {
    /// PostgreSQL 15.
    V15,
    /// PostgreSQL 16.
    V16,
    /// PostgreSQL 17.
    V17,
    /// PostgreSQL 18.
    V18,
}

/// The bytes were written by a PostgreSQL that is not read here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} is not of PostgreSQL 15, 16, 17 or 18; Lifeboat reads these only")]
pub struct UnsupportedVersionError {
    what: String,
}

impl MajorVersion {
    /// All of them, oldest first.
    pub const ALL: [Self; 4] = [Self::V15, Self::V16, Self::V17, Self::V18];

    /// The number people call it by.
    #[must_use]
    pub const fn number(self) -> u32 {
        match self {
            Self::V15 => 15,
            Self::V16 => 16,
            Self::V17 => 17,
            Self::V18 => 18,
        }
    }

    /// The catalogue version of its released servers; part of tablespace directory names.
    #[must_use]
    pub const fn catalog_version(self) -> u32 {
        match self {
            Self::V15 => 202_209_061,
            Self::V16 => 202_307_071,
            Self::V17 => 202_406_281,
            Self::V18 => 202_506_291,
        }
    }

    /// The number that begins each of its WAL pages (`xlp_magic`).
    #[must_use]
    pub const fn wal_magic(self) -> u16 {
        match self {
            Self::V15 => 0xD110,
            Self::V16 => 0xD113,
            Self::V17 => 0xD116,
            Self::V18 => 0xD118,
        }
    }

    /// The version number of its control file.
    #[must_use]
    pub const fn control_version(self) -> u32 {
        match self {
            Self::V15 | Self::V16 => 1300,
            Self::V17 => 1700,
            Self::V18 => 1800,
        }
    }

    /// The directory that it makes inside a tablespace's location: `PG_15_202209061`.
    #[must_use]
    pub fn tablespace_directory(self) -> String {
        format!("PG_{}_{}", self.number(), self.catalog_version())
    }

    /// From the catalogue version of a control file.
    ///
    /// # Errors
    /// [`UnsupportedVersionError`] for any other version, betas among them.
    pub fn from_catalog_version(version: u32) -> Result<Self, UnsupportedVersionError> {
        Self::find(|v| v.catalog_version() == version, || format!("catalogue version {version}"))
    }

    /// From the first number of a WAL page.
    ///
    /// # Errors
    /// [`UnsupportedVersionError`] for any other number.
    pub fn from_wal_magic(magic: u16) -> Result<Self, UnsupportedVersionError> {
        Self::find(|v| v.wal_magic() == magic, || format!("WAL page magic {magic:04X}"))
    }

    /// From the setting `server_version_num`: 150004 is 15.
    ///
    /// # Errors
    /// [`UnsupportedVersionError`] for any other number.
    pub fn from_server_version_num(number: u32) -> Result<Self, UnsupportedVersionError> {
        Self::find(|v| v.number() == number / 10_000, || format!("server version {number}"))
    }

    /// From the content of a file `PG_VERSION`.
    ///
    /// # Errors
    /// [`UnsupportedVersionError`] for any other content.
    pub fn from_pg_version_file(content: &[u8]) -> Result<Self, UnsupportedVersionError> {
        let text = content.strip_suffix(b"\n").unwrap_or(content);
        let shown = || {
            let head = &text[..text.len().min(20)];
            format!("PG_VERSION `{}`", String::from_utf8_lossy(head).escape_debug())
        };
        Self::find(|v| v.number().to_string().as_bytes() == text, shown)
    }

    fn find(
        is_it: impl Fn(Self) -> bool,
        what: impl FnOnce() -> String,
    ) -> Result<Self, UnsupportedVersionError> {
        Self::ALL.into_iter().find(|v| is_it(*v)).ok_or_else(|| UnsupportedVersionError { what: what() })
    }
}

impl fmt::Display for MajorVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.number())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_leads_to_the_version() {
        for version in MajorVersion::ALL {
            assert_eq!(MajorVersion::from_catalog_version(version.catalog_version()), Ok(version));
            assert_eq!(MajorVersion::from_wal_magic(version.wal_magic()), Ok(version));
            assert_eq!(MajorVersion::from_server_version_num(version.number() * 10_000 + 4), Ok(version));
            let file = format!("{version}\n");
            assert_eq!(MajorVersion::from_pg_version_file(file.as_bytes()), Ok(version));
        }
    }

    #[test]
    fn others_are_refused_by_name() {
        let error = MajorVersion::from_pg_version_file(b"14\n").unwrap_err();
        assert!(error.to_string().starts_with("PG_VERSION `14` is not"), "{error}");
        assert!(MajorVersion::from_server_version_num(140_010).is_err());
        assert!(MajorVersion::from_wal_magic(0x10D1).is_err());
        assert!(MajorVersion::from_pg_version_file(&[0xFF; 100]).is_err());
    }
}
