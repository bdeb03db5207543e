//! TLS to a server, as carefully as `sslmode` asks.
//!
//! # Invariants
//! - `verify-ca` and `verify-full` never fall back to less; `require` with a root certificate at hand
//!   checks the chain, as libpq does.
//! - Even where no certificate is checked, the handshake's signatures are: whoever answers holds the
//!   key of the certificate shown.
//!
//! Deliberately absent: the certificate's common name. A name counts if it is a `subjectAltName`.
//!
//! Source: PostgreSQL manual, "SSL Support"; RFC 5929 for `tls-server-end-point`.

use super::conninfo::{Conninfo, Roots, SslMode};
use super::wire::Socket;
use aws_lc_rs::digest;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls;

/// Largest certificate or key file that is read.
const PEM_LIMIT_BYTES: u64 = 4 << 20;
/// Permission bits that a private key of our own must not have.
const OTHERS: u32 = 0o077;
/// The same for one that belongs to root, which a group may read.
const OTHERS_THAN_GROUP: u32 = 0o037;

/// Our side of TLS could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum TlsSetupError {
    /// A file cannot be read.
    #[error("{} ({key}) cannot be read", path.display())]
    Read {
        /// The connection parameter that names it.
        key: &'static str,
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file is not what it should be.
    #[error("{} ({key}) does not hold {wanted} in PEM form", path.display())]
    NotPem {
        /// The connection parameter that names it.
        key: &'static str,
        /// Which file.
        path: PathBuf,
        /// What it should hold.
        wanted: &'static str,
    },
    /// Others can read the private key.
    #[error("the private key {path} can be read by others; run: chmod 0600 {path}", path = path.display())]
    Exposed {
        /// Which file.
        path: PathBuf,
    },
    /// Certificates must be checked and there is nothing to check them against.
    #[error("sslmode={mode} needs the authority's certificate; name its file with sslrootcert=…")]
    NoRoots {
        /// As asked for.
        mode: &'static str,
    },
    /// The operating system has no trusted authorities.
    #[error(
        "the operating system has no trusted certificates; install ca-certificates or name a file with sslrootcert=…"
    )]
    NoSystemRoots,
    /// A certificate without a key or the reverse.
    #[error("sslcert and sslkey go together; only `{given}` is given")]
    HalfPair {
        /// The one that is there.
        given: &'static str,
    },
    /// The TLS library refused them.
    #[error("the client certificate and key cannot be used")]
    Rustls(#[source] rustls::Error),
}

/// What all TLS sessions of one connection string share.
#[derive(Clone)]
pub(super) struct Tls {
    config: Arc<ClientConfig>,
}

impl Socket for TlsStream<TcpStream> {}

impl Tls {
    /// Reads the certificates that `info` names.
    pub(super) fn load(info: &Conninfo) -> Result<Self, TlsSetupError> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let verifier = Verifier::load(info, provider.signature_verification_algorithms)?;
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(TlsSetupError::Rustls)?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier));
        let config = match client_pair(info)? {
            Some((chain, key)) => builder.with_client_auth_cert(chain, key).map_err(TlsSetupError::Rustls)?,
            None => builder.with_no_client_auth(),
        };
        Ok(Self { config: Arc::new(config) })
    }

    /// Shakes hands. Also returns the hash that a login can be bound to, if the certificate has one.
    pub(super) async fn wrap(
        &self,
        stream: TcpStream,
        name: &str,
    ) -> io::Result<(Box<dyn Socket>, Option<Vec<u8>>)> {
        let peer = stream.peer_addr()?;
        // A name that TLS cannot express is not sent; the address is checked in its place.
        let name = ServerName::try_from(name.to_owned()).unwrap_or(ServerName::IpAddress(peer.ip().into()));
        let stream = TlsConnector::from(Arc::clone(&self.config)).connect(name, stream).await?;
        let certificate = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
        let hash = certificate.and_then(|certificate| server_end_point(certificate));
        Ok((Box::new(stream), hash))
    }
}

fn read_pem(key: &'static str, path: &Path) -> Result<Vec<u8>, TlsSetupError> {
    let failed = |source| TlsSetupError::Read { key, path: path.to_owned(), source };
    let length = std::fs::metadata(path).map_err(failed)?.len();
    if length > PEM_LIMIT_BYTES {
        return Err(failed(io::Error::new(io::ErrorKind::FileTooLarge, "larger than any sensible PEM file")));
    }
    std::fs::read(path).map_err(failed)
}

fn read_certificates(key: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsSetupError> {
    let bytes = read_pem(key, path)?;
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    let found = certificates.ok().filter(|found| !found.is_empty());
    found.ok_or_else(|| TlsSetupError::NotPem { key, path: path.to_owned(), wanted: "a certificate" })
}

type ClientPair = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

/// The client's own certificate and key, where libpq looks for them.
fn client_pair(info: &Conninfo) -> Result<Option<ClientPair>, TlsSetupError> {
    let default = |name: &str| info.home_file(name).filter(|path| path.exists());
    let certificate = info.tls.certificate.clone().or_else(|| default(".postgresql/postgresql.crt"));
    let key = info.tls.key.clone().or_else(|| default(".postgresql/postgresql.key"));
    let (certificate, key) = match (certificate, key) {
        (Some(certificate), Some(key)) => (certificate, key),
        (Some(_), None) => return Err(TlsSetupError::HalfPair { given: "sslcert" }),
        (None, Some(_)) if info.tls.key.is_some() => return Err(TlsSetupError::HalfPair { given: "sslkey" }),
        (None, _) => return Ok(None),
    };
    let metadata = std::fs::metadata(&key).map_err(|source| TlsSetupError::Read {
        key: "sslkey",
        path: key.clone(),
        source,
    })?;
    let forbidden = if metadata.uid() == 0 { OTHERS_THAN_GROUP } else { OTHERS };
    if metadata.mode() & forbidden != 0 {
        return Err(TlsSetupError::Exposed { path: key });
    }
    let chain = read_certificates("sslcert", &certificate)?;
    let bytes = zeroize::Zeroizing::new(read_pem("sslkey", &key)?);
    let key = PrivateKeyDer::from_pem_slice(&bytes).map_err(|_| TlsSetupError::NotPem {
        key: "sslkey",
        path: key,
        wanted: "an unencrypted private key",
    })?;
    Ok(Some((chain, key)))
}

/// How much of a server's certificate is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Check {
    Nothing,
    Chain,
    ChainAndName,
}

#[derive(Debug)]
struct Verifier {
    check: Check,
    roots: RootCertStore,
    /// The certificates that the user's own file lists: a server that shows one of them is known.
    pinned: Vec<CertificateDer<'static>>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl Verifier {
    fn load(info: &Conninfo, algorithms: WebPkiSupportedAlgorithms) -> Result<Self, TlsSetupError> {
        let default_file = || info.home_file(".postgresql/root.crt").filter(|path| path.exists());
        let file = match &info.tls.roots {
            Roots::File(path) => Some(path.clone()),
            Roots::Default => default_file(),
            Roots::System => None,
        };
        let check = match info.tls.mode {
            SslMode::VerifyFull => Check::ChainAndName,
            SslMode::VerifyCa => Check::Chain,
            // libpq's own rule, so that old settings keep their protection.
            SslMode::Require if file.is_some() => Check::Chain,
            _ => Check::Nothing,
        };
        let mut roots = RootCertStore::empty();
        let mut pinned = Vec::new();
        match (check, file) {
            (Check::Nothing, _) => {}
            (_, Some(path)) => {
                pinned = read_certificates("sslrootcert", &path)?;
                let (added, _) = roots.add_parsable_certificates(pinned.iter().cloned());
                if added == 0 {
                    let wanted = "a certificate that can be used (X.509 version 3)";
                    return Err(TlsSetupError::NotPem { key: "sslrootcert", path, wanted });
                }
            }
            // As in libpq, every public authority is too many unless the name is checked.
            (Check::Chain, None) => return Err(TlsSetupError::NoRoots { mode: "verify-ca" }),
            (Check::ChainAndName, None) => {
                roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
                if roots.is_empty() {
                    return Err(TlsSetupError::NoSystemRoots);
                }
            }
        }
        Ok(Self { check, roots, pinned, algorithms })
    }

    /// Whether a chain that does not verify is known all the same: a self-signed certificate that is an
    /// authority's is no end of a chain, and is what `openssl req -x509` makes.
    fn is_pinned(&self, shown: &CertificateDer<'_>, error: &rustls::Error) -> bool {
        use CertificateError::{Expired, ExpiredContext, NotValidYet, NotValidYetContext, Revoked};
        let out_of_date = matches!(
            error,
            rustls::Error::InvalidCertificate(
                Expired | ExpiredContext { .. } | NotValidYet | NotValidYetContext { .. } | Revoked
            )
        );
        !out_of_date && self.pinned.iter().any(|pinned| pinned == shown)
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if self.check == Check::Nothing {
            return Ok(ServerCertVerified::assertion());
        }
        let certificate = ParsedCertificate::try_from(end_entity)?;
        let chain = verify_server_cert_signed_by_trust_anchor(
            &certificate,
            &self.roots,
            intermediates,
            now,
            self.algorithms.all,
        );
        if let Err(error) = chain
            && !self.is_pinned(end_entity, &error)
        {
            return Err(error);
        }
        if self.check == Check::ChainAndName {
            verify_server_name(&certificate, server_name)?;
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// Object identifiers of signature algorithms (DER, without tag and length) and the hash that
/// `tls-server-end-point` takes for each; MD5 and SHA-1 are replaced by SHA-256 (RFC 5929, 4.1).
const SIGNATURE_HASHES: [(&[u8], &digest::Algorithm); 9] = [
    (&[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x04], &digest::SHA256),
    (&[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x05], &digest::SHA256),
    (&[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0b], &digest::SHA256),
    (&[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0c], &digest::SHA384),
    (&[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0d], &digest::SHA512),
    (&[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x01], &digest::SHA256),
    (&[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02], &digest::SHA256),
    (&[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x03], &digest::SHA384),
    (&[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x04], &digest::SHA512),
];

/// The hash of a certificate that a login can be bound to; `None` where the standard names none
/// (Ed25519, RSA-PSS).
fn server_end_point(certificate: &[u8]) -> Option<Vec<u8>> {
    const SEQUENCE: u8 = 0x30;
    const OBJECT_IDENTIFIER: u8 = 0x06;
    let (body, _) = der_value(certificate, SEQUENCE)?;
    let (_signed_part, rest) = der_value(body, SEQUENCE)?;
    let (algorithm, _) = der_value(rest, SEQUENCE)?;
    let (identifier, _) = der_value(algorithm, OBJECT_IDENTIFIER)?;
    let (_, hash) = SIGNATURE_HASHES.iter().find(|(known, _)| *known == identifier)?;
    Some(digest::digest(hash, certificate).as_ref().to_vec())
}

/// The contents of the DER value of this tag that `bytes` begins with, and what follows it.
fn der_value(bytes: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (&[found, first], rest) = bytes.split_first_chunk::<2>()?;
    if found != tag {
        return None;
    }
    if first < 0x80 {
        return rest.split_at_checked(first.into());
    }
    let (digits, rest) = rest.split_at_checked((first & 0x7f).into())?;
    if digits.len() > size_of::<u32>() {
        return None;
    }
    let length = digits.iter().fold(0usize, |length, digit| length << 8 | usize::from(*digit));
    rest.split_at_checked(length)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn certificates_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
            let _ = server_end_point(&bytes);
            let nested = [&[0x30, 0x84, 0, 0, 0, 60, 0x30, 0x01, 0][..], &bytes].concat();
            let _ = server_end_point(&nested);
        }
    }
}
