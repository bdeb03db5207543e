//! An address that speaks TLS, and whether its certificate is trusted, now and for as long as it must be.
//!
//! The whole chain is held against the trusted authorities twice: as of now, and as of the moment until which it must be
//! valid; so an authority between that expires earlier is found too.

use lifeboat_core::runbook::Tls;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};

/// What was seen; or what is wrong with it.
pub(super) async fn look(with: &Tls) -> Result<String, String> {
    let (host, _) = with.address.rsplit_once(':').ok_or("the address is no `host:port`")?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let name = ServerName::try_from(host.to_owned()).map_err(|_| format!("`{host}` is no name of a host"))?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let roots = Arc::new(roots(with.authority.as_deref())?);
    let trusted = WebPkiServerVerifier::builder_with_provider(roots, Arc::clone(&provider)).build();
    let trusted = trusted.map_err(|error| format!("the trusted authorities cannot be used: {error}"))?;
    let ahead = with.valid_for.map_or(Duration::ZERO, |interval| interval.0);
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Ahead { trusted, ahead }))
        .with_no_client_auth();
    let stream = TcpStream::connect(&with.address).await;
    let stream = stream.map_err(|error| format!("{} cannot be reached: {error}", with.address))?;
    match TlsConnector::from(Arc::new(config)).connect(name, stream).await {
        Ok(_) => Ok(format!("{} shows a certificate that is trusted", with.address)),
        Err(error) => Err(why(&error, ahead)),
    }
}

fn why(error: &std::io::Error, ahead: Duration) -> String {
    let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
    match tls {
        Some(Error::InvalidCertificate(CertificateError::ExpiredContext { time, not_after })) => {
            let left = i128::from(not_after.as_secs()) - i128::from(time.as_secs());
            let missing = Duration::from_secs(u64::try_from(-left).unwrap_or_default());
            match ahead > missing {
                true => format!(
                    "its certificate, or that of an authority above it, is valid for {} more only",
                    lifeboat_base::format_duration(ahead - missing)
                ),
                false => format!(
                    "its certificate, or that of an authority above it, expired {} ago",
                    lifeboat_base::format_duration(missing - ahead)
                ),
            }
        }
        Some(Error::InvalidCertificate(error)) => format!("its certificate is not trusted: {error}"),
        _ => format!("it does not speak TLS as it must: {error}"),
    }
}

fn roots(authority: Option<&str>) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    match authority {
        Some(path) => {
            let failed = |error: &dyn std::fmt::Display| format!("{path} cannot be read: {error}");
            let certificates = CertificateDer::pem_file_iter(path).map_err(|error| failed(&error))?;
            for certificate in certificates {
                let certificate = certificate.map_err(|error| failed(&error))?;
                roots.add(certificate).map_err(|error| failed(&error))?;
            }
        }
        None => {
            let _ = roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
    }
    match roots.is_empty() {
        true => {
            Err("there are no trusted certificates; install ca-certificates, or name a file as `authority`"
                .to_owned())
        }
        false => Ok(roots),
    }
}

/// Holds a certificate against now and against later.
#[derive(Debug)]
struct Ahead {
    trusted: Arc<WebPkiServerVerifier>,
    ahead: Duration,
}

impl ServerCertVerifier for Ahead {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        above: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.trusted.verify_server_cert(certificate, above, name, ocsp, now)?;
        let later = Duration::from_secs(now.as_secs()).saturating_add(self.ahead);
        self.trusted.verify_server_cert(certificate, above, name, ocsp, UnixTime::since_unix_epoch(later))
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.trusted.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.trusted.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.trusted.supported_verify_schemes()
    }
}
