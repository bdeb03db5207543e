//! Sealing: how one object's bytes are compressed, encrypted and bound to their place.
//!
//! An object is a 48-byte header and a row of frames, each sealed by itself:
//!
//! ```text
//! header   "LIFEBOAT" · version 1 · 7 zero bytes · salt (32 random bytes)
//! frame n  AES-256-GCM( codec byte · payload ) · 16-byte tag
//! ```
//!
//! The object's key is `HKDF-SHA256(vault key, salt, "lifeboat object v1\0" · name)`, the nonce of frame
//! *n* is *n* as 12 big-endian bytes, the associated data is `name · 0 · n` (4 big-endian bytes).
//!
//! # Invariants
//! - **S1 no nonce twice.** A fresh salt gives each object a key of its own; a sealer counts its
//!   frames upward and is consumed with its object.
//! - **S2 bound to its place.** A frame opens only under its object's name and its own number, so what
//!   was swapped, moved, truncated or replayed does not open.
//! - **S3 bounded opening.** A frame never expands beyond [`FRAME_LIMIT_BYTES`].
//!
//! Deliberately absent: where objects are stored, and what is in them.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::hkdf;
use bytes::Bytes;
use lifeboat_base::Clock;
use std::io::Cursor;
use zeroize::Zeroizing;

/// The most that one frame may hold when opened.
pub const FRAME_LIMIT_BYTES: usize = 64 << 20;
/// Header of every sealed object.
pub const HEADER_BYTES: usize = 48;
/// What sealing adds to a frame: the codec byte and the tag.
pub const FRAME_OVERHEAD_BYTES: usize = 17;

const TAG_BYTES: usize = 16;
const MAGIC: &[u8; 8] = b"LIFEBOAT";
const VERSION: u8 = 1;
const SALT_AT: usize = 16;
const CODEC_STORED: u8 = 0;
const CODEC_ZSTD: u8 = 1;
/// Below this, compression costs more than it saves.
const COMPRESS_FROM_BYTES: usize = 64;

/// The key from which every object's own key is derived. Wiped when dropped, never printed.
#[derive(Clone)]
pub struct VaultKey(Zeroizing<[u8; 32]>);

impl VaultKey {
    /// A new random key.
    #[must_use]
    pub fn generate(clock: &dyn Clock) -> Self {
        let mut key = Zeroizing::new([0; 32]);
        clock.random(key.as_mut());
        Self(key)
    }

    /// The key of these 32 bytes; `None` if there are not 32.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(|key| Self(Zeroizing::new(key)))
    }

    pub(crate) fn expose(&self) -> &[u8; 32] {
        &self.0
    }

    fn object_key(&self, salt: &[u8], name: &str) -> LessSafeKey {
        struct KeyLength;
        impl hkdf::KeyType for KeyLength {
            fn len(&self) -> usize {
                32
            }
        }
        let mut key = Zeroizing::new([0; 32]);
        hkdf::Salt::new(hkdf::HKDF_SHA256, salt)
            .extract(self.0.as_ref())
            .expand(&[b"lifeboat object v1\0", name.as_bytes()], KeyLength)
            .and_then(|okm| okm.fill(key.as_mut()))
            .expect("HKDF-SHA256 gives 32 bytes for any input");
        LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key.as_ref()).expect("an AES-256 key has 32 bytes"))
    }
}

impl std::fmt::Debug for VaultKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("VaultKey(hidden)")
    }
}

/// Why sealed bytes do not open.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// Too short, or the first bytes are not Lifeboat's.
    #[error("it is not a sealed object: the header is missing or cut off")]
    NotSealed,
    /// A later format.
    #[error("it is sealed in format {0}; this Lifeboat reads format {VERSION}")]
    Version(u8),
    /// The tag does not match: damaged, moved, cut off, or another vault's.
    #[error("frame {0} is damaged or not the one that belongs here: its seal does not open")]
    Damaged(u32),
    /// The seal opens but what is inside makes no sense: written by a faulty program.
    #[error("frame {0} opens but does not decompress")]
    Malformed(u32),
}

/// Seals the frames of one object, in order.
pub struct ObjectSealer {
    name: String,
    key: LessSafeKey,
    next_frame: u32,
    compressor: zstd::bulk::Compressor<'static>,
}

impl std::fmt::Debug for ObjectSealer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ObjectSealer").field("name", &self.name).finish_non_exhaustive()
    }
}

impl ObjectSealer {
    /// Begins the object `name`, writing its header to `out`.
    #[must_use]
    pub fn begin(vault_key: &VaultKey, name: &str, clock: &dyn Clock, level: i32, out: &mut Vec<u8>) -> Self {
        let mut salt = [0; 32];
        clock.random(&mut salt);
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(&[VERSION, 0, 0, 0, 0, 0, 0, 0]);
        out.extend_from_slice(&salt);
        let compressor = zstd::bulk::Compressor::new(level).expect("a zstd context needs only memory");
        Self { name: name.to_owned(), key: vault_key.object_key(&salt, name), next_frame: 0, compressor }
    }

    /// Appends the next frame to `out` and returns its number.
    ///
    /// # Panics
    /// If `raw` is longer than [`FRAME_LIMIT_BYTES`]: what could not be opened again is never sealed.
    pub fn frame(&mut self, raw: &[u8], out: &mut Vec<u8>) -> u32 {
        assert!(raw.len() < FRAME_LIMIT_BYTES, "a frame of {} bytes could not be opened again", raw.len());
        let number = self.next_frame;
        self.next_frame = number.checked_add(1).expect("an object has fewer than 2^32 frames");
        let start = out.len();
        out.push(CODEC_ZSTD);
        // Room is reserved, not filled: most of it is never touched, and takes no memory then.
        let is_packed = raw.len() >= COMPRESS_FROM_BYTES && {
            out.reserve(zstd::zstd_safe::compress_bound(raw.len()) + TAG_BYTES);
            let mut behind = Cursor::new(&mut *out);
            behind.set_position(start as u64 + 1);
            self.compressor.compress_to_buffer(raw, &mut behind).is_ok_and(|length| length < raw.len())
        };
        if !is_packed {
            out.truncate(start);
            out.push(CODEC_STORED);
            out.extend_from_slice(raw);
        }
        let tag = self
            .key
            .seal_in_place_separate_tag(
                nonce(number),
                Aad::from(place(&self.name, number)),
                &mut out[start..],
            )
            .expect("AES-GCM seals anything below its limit of 64 GiB");
        out.extend_from_slice(tag.as_ref());
        number
    }
}

/// Opens the frames of one object, in any order.
pub struct ObjectOpener {
    name: String,
    key: LessSafeKey,
}

impl std::fmt::Debug for ObjectOpener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ObjectOpener").field("name", &self.name).finish_non_exhaustive()
    }
}

impl ObjectOpener {
    /// Reads the header of the object `name`.
    ///
    /// # Errors
    /// [`OpenError::NotSealed`] or [`OpenError::Version`].
    pub fn new(vault_key: &VaultKey, name: &str, header: &[u8]) -> Result<Self, OpenError> {
        if header.len() < HEADER_BYTES || &header[..8] != MAGIC {
            return Err(OpenError::NotSealed);
        }
        if header[8] != VERSION {
            return Err(OpenError::Version(header[8]));
        }
        let key = vault_key.object_key(&header[SALT_AT..HEADER_BYTES], name);
        Ok(Self { name: name.to_owned(), key })
    }

    /// Opens frame `number` from its sealed bytes.
    ///
    /// # Errors
    /// [`OpenError::Damaged`] unless exactly these bytes were sealed as this frame of this object.
    pub fn frame(&self, number: u32, sealed: &[u8]) -> Result<Vec<u8>, OpenError> {
        self.frame_within(number, sealed.to_vec(), 0)
    }

    /// Opens frame `number`, which begins at `from` of `buffer`, where it lies.
    fn frame_within(&self, number: u32, mut buffer: Vec<u8>, from: usize) -> Result<Vec<u8>, OpenError> {
        let aad = Aad::from(place(&self.name, number));
        let sealed = buffer.get_mut(from..).unwrap_or_default();
        let opened = self.key.open_in_place(nonce(number), aad, sealed);
        let plain = opened.map_err(|_| OpenError::Damaged(number))?;
        match plain.split_first() {
            Some((&CODEC_STORED, payload)) => {
                // Opened where it lies: of a wrapped key there is no second copy that nobody wipes.
                let length = payload.len();
                buffer.truncate(from + 1 + length);
                buffer.drain(..from + 1);
                Ok(buffer)
            }
            Some((&CODEC_ZSTD, payload)) => {
                let size = zstd::zstd_safe::get_frame_content_size(payload).ok().flatten();
                let size = size.and_then(|n| usize::try_from(n).ok()).filter(|n| *n <= FRAME_LIMIT_BYTES);
                let size = size.ok_or(OpenError::Malformed(number))?;
                zstd::bulk::decompress(payload, size).map_err(|_| OpenError::Malformed(number))
            }
            _ => Err(OpenError::Malformed(number)),
        }
    }
}

/// How hard zstd tries on objects of one frame, most of which are WAL: of two segments of pgbench with their
/// full-page images, level 1 made 2.83 MB in half the time in which level 3 made 2.94 MB.
const OBJECT_LEVEL: i32 = 1;

/// Seals a whole object of one frame.
#[must_use]
pub fn seal_object(vault_key: &VaultKey, name: &str, clock: &dyn Clock, raw: &[u8]) -> Vec<u8> {
    let room = zstd::zstd_safe::compress_bound(raw.len());
    let mut out = Vec::with_capacity(HEADER_BYTES + FRAME_OVERHEAD_BYTES + room);
    ObjectSealer::begin(vault_key, name, clock, OBJECT_LEVEL, &mut out).frame(raw, &mut out);
    // It lives until every copy has it; the room that it did not need is free at once.
    out.shrink_to_fit();
    out
}

/// Opens what [`seal_object`] sealed.
///
/// # Errors
/// [`OpenError`], whatever was done to the bytes.
pub fn open_object(vault_key: &VaultKey, name: &str, sealed: &[u8]) -> Result<Vec<u8>, OpenError> {
    let opener = ObjectOpener::new(vault_key, name, sealed)?;
    opener.frame(0, &sealed[HEADER_BYTES..])
}

/// As [`open_object`], of bytes that nobody else needs: where it can be, they are opened where they lie.
///
/// # Errors
/// As [`open_object`].
pub fn open_object_from(vault_key: &VaultKey, name: &str, sealed: Bytes) -> Result<Vec<u8>, OpenError> {
    let opener = ObjectOpener::new(vault_key, name, &sealed)?;
    opener.frame_within(0, sealed.into(), HEADER_BYTES)
}

fn nonce(number: u32) -> Nonce {
    let mut bytes = [0; 12];
    bytes[8..].copy_from_slice(&number.to_be_bytes());
    Nonce::assume_unique_for_key(bytes)
}

fn place(name: &str, number: u32) -> Vec<u8> {
    let mut place = Vec::with_capacity(name.len() + 5);
    place.extend_from_slice(name.as_bytes());
    place.push(0);
    place.extend_from_slice(&number.to_be_bytes());
    place
}

#[cfg(test)]
mod tests {
    use super::*;
    use lifeboat_base::ManualClock;

    fn clock() -> ManualClock {
        ManualClock::new("2026-01-01T00:00:00Z".parse().unwrap(), 7)
    }

    #[test]
    fn s2_a_frame_opens_only_in_its_place_and_whole() {
        let (clock, name) = (clock(), "a/b");
        let key = VaultKey::generate(&clock);
        let raw = vec![42; 100_000];
        let sealed = seal_object(&key, name, &clock, &raw);
        assert_eq!(open_object(&key, name, &sealed).unwrap(), raw);
        assert!(open_object(&key, "a/c", &sealed).is_err(), "moved");
        assert!(open_object(&VaultKey::generate(&clock), name, &sealed).is_err(), "another key");
        for cut in [0, 1, HEADER_BYTES, sealed.len() - 1] {
            assert!(open_object(&key, name, &sealed[..cut]).is_err(), "cut at {cut}");
        }
        for at in 0..sealed.len() {
            let mut flipped = sealed.clone();
            flipped[at] ^= 1;
            let reserved = (9..16).contains(&at);
            assert_eq!(open_object(&key, name, &flipped).is_err(), !reserved, "bit flipped at {at}");
        }
    }

    #[test]
    fn s2_frames_do_not_change_places() {
        let clock = clock();
        let key = VaultKey::generate(&clock);
        let mut out = Vec::new();
        let mut sealer = ObjectSealer::begin(&key, "x", &clock, 3, &mut out);
        sealer.frame(b"first", &mut out);
        let second_at = out.len();
        sealer.frame(b"second", &mut out);
        let opener = ObjectOpener::new(&key, "x", &out).unwrap();
        assert_eq!(opener.frame(0, &out[HEADER_BYTES..second_at]).unwrap(), b"first");
        assert_eq!(opener.frame(1, &out[second_at..]).unwrap(), b"second");
        assert_eq!(opener.frame(0, &out[second_at..]), Err(OpenError::Damaged(0)));
    }

    #[test]
    fn s1_the_same_bytes_never_seal_alike() {
        let clock = clock();
        let key = VaultKey::generate(&clock);
        assert_ne!(seal_object(&key, "x", &clock, b"same"), seal_object(&key, "x", &clock, b"same"));
    }

    /// Seals a frame that no sealer would make: these bytes after the codec byte.
    fn sealed_by_a_faulty_program(key: &VaultKey, plain: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        let sealer = ObjectSealer::begin(key, "x", &clock(), 1, &mut out);
        let mut frame = plain.to_vec();
        let aad = Aad::from(place("x", 0));
        let tag = sealer.key.seal_in_place_separate_tag(nonce(0), aad, &mut frame).unwrap();
        out.extend_from_slice(&frame);
        out.extend_from_slice(tag.as_ref());
        out
    }

    #[test]
    fn s3_a_frame_never_expands_beyond_its_limit_or_what_it_says() {
        let key = VaultKey::generate(&clock());
        let open = |payload: &[u8]| {
            let plain = [&[CODEC_ZSTD], payload].concat();
            open_object(&key, "x", &sealed_by_a_faulty_program(&key, &plain)).map(|raw| raw.len())
        };
        let packed = |length: usize| zstd::bulk::compress(&vec![0; length], 1).unwrap();
        assert_eq!(open(&packed(FRAME_LIMIT_BYTES)), Ok(FRAME_LIMIT_BYTES));
        assert_eq!(open(&packed(FRAME_LIMIT_BYTES + 1)), Err(OpenError::Malformed(0)));
        // A stream does not say how long it becomes.
        let stream = zstd::stream::encode_all(&vec![0; 100_000][..], 1).unwrap();
        assert_eq!(open(&stream), Err(OpenError::Malformed(0)));
        // One frame that says its length, and another behind it.
        assert_eq!(open(&[packed(100), packed(1 << 20)].concat()), Err(OpenError::Malformed(0)));
        assert_eq!(open(&[]), Err(OpenError::Malformed(0)));
        for plain in [&[][..], &[7], &[7, 7, 7]] {
            let sealed = sealed_by_a_faulty_program(&key, plain);
            assert_eq!(open_object(&key, "x", &sealed), Err(OpenError::Malformed(0)), "{plain:?}");
        }
    }
}
