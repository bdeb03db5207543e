//! Logging in: proving who we are, and letting the server prove that it knows us.
//!
//! # Invariants
//! - With SCRAM the login counts only after the server's own proof was checked: an impostor that waves
//!   us through is refused.
//! - A binding to the TLS session is used whenever both sides can, and `channel_binding=require` is
//!   never fallen short of, not even by a server that asks for no password at all.
//!
//! Deliberately absent: GSSAPI and SSPI, which need the operating system's libraries.
//!
//! Source: PostgreSQL manual, "Message Flow" and "SASL Authentication".

use super::Password;
use super::conninfo::ChannelBinding;
use super::endpoint::Endpoint;
use super::error::ClientError;
use super::passfile::PassfileError;
use super::server_error::ServerError;
use super::wire::{Incoming, Wire, WireError};
use fallible_iterator::FallibleIterator;
use postgres_protocol::authentication::md5_hash;
use postgres_protocol::authentication::sasl::{self, SCRAM_SHA_256, SCRAM_SHA_256_PLUS, ScramSha256};
use postgres_protocol::message::backend::{AuthenticationSaslBody, Message};
use postgres_protocol::message::frontend;
use std::io;

/// Messages of a login before `AuthenticationOk`; the longest exchange has four.
const LOGIN_MESSAGES: usize = 16;

/// What a login needs.
pub(super) struct Login<'a> {
    pub(super) endpoint: &'a Endpoint,
    pub(super) user: &'a str,
    pub(super) binding: ChannelBinding,
    /// The hash of the server's certificate, where there is one.
    pub(super) end_point: Option<Vec<u8>>,
    /// Found only when it is asked for.
    pub(super) password: &'a (dyn Fn() -> Result<Option<Password>, PassfileError> + Sync),
}

/// How a login failed: by the server's word, or otherwise.
pub(super) enum LoginError {
    Server(Box<ServerError>),
    Wire(WireError),
    Client(Box<ClientError>),
}

impl From<ClientError> for LoginError {
    fn from(error: ClientError) -> Self {
        Self::Client(Box::new(error))
    }
}

impl From<WireError> for LoginError {
    fn from(error: WireError) -> Self {
        Self::Wire(error)
    }
}

/// How far SCRAM has come.
enum Scram {
    NotBegun,
    Running { exchange: ScramSha256, bound: bool },
    Proven { bound: bool },
}

impl Login<'_> {
    /// Answers the server until it lets us in.
    pub(super) async fn run(&self, wire: &mut Wire) -> Result<(), LoginError> {
        let mut scram = Scram::NotBegun;
        for _ in 0..LOGIN_MESSAGES {
            let message = match wire.receive().await? {
                Incoming::Other(message) => message,
                // The server does not know a start-up option that we never send, or is older than
                // protocol 3.0's first release: what follows tells.
                Incoming::Negotiate => continue,
                Incoming::CopyData(_) | Incoming::CopyBoth => return Err(self.unexpected().into()),
            };
            match message {
                Message::AuthenticationOk => return self.accept(&scram),
                Message::AuthenticationCleartextPassword => {
                    self.forbid_when_bound()?;
                    let password = self.password()?;
                    let sent =
                        wire.queue(|buffer| frontend::password_message(password.reveal().as_bytes(), buffer));
                    sent.map_err(ClientError::from)?;
                }
                Message::AuthenticationMd5Password(body) => {
                    self.forbid_when_bound()?;
                    let password = self.password()?;
                    let hash = md5_hash(self.user.as_bytes(), password.reveal().as_bytes(), body.salt());
                    let sent = wire.queue(|buffer| frontend::password_message(hash.as_bytes(), buffer));
                    sent.map_err(ClientError::from)?;
                }
                Message::AuthenticationSasl(body) => scram = self.begin_scram(&body, wire)?,
                Message::AuthenticationSaslContinue(body) => {
                    let Scram::Running { exchange, .. } = &mut scram else {
                        return Err(self.unexpected().into());
                    };
                    exchange.update(body.data()).map_err(|source| self.not_proven(source))?;
                    let sent = wire.queue(|buffer| frontend::sasl_response(exchange.message(), buffer));
                    sent.map_err(ClientError::from)?;
                }
                Message::AuthenticationSaslFinal(body) => {
                    let Scram::Running { mut exchange, bound } = scram else {
                        return Err(self.unexpected().into());
                    };
                    exchange.finish(body.data()).map_err(|source| self.not_proven(source))?;
                    scram = Scram::Proven { bound };
                }
                Message::AuthenticationGss | Message::AuthenticationGssContinue(_) => {
                    return Err(self.unsupported("GSSAPI (gss)").into());
                }
                Message::AuthenticationSspi => return Err(self.unsupported("SSPI (sspi)").into()),
                Message::AuthenticationKerberosV5 => return Err(self.unsupported("Kerberos 5").into()),
                Message::AuthenticationScmCredential => {
                    return Err(self.unsupported("socket credentials (scm)").into());
                }
                Message::ErrorResponse(body) => {
                    return Err(LoginError::Server(Box::new(ServerError::read(body.fields()))));
                }
                Message::NoticeResponse(_) => {}
                _ => return Err(self.unexpected().into()),
            }
            wire.flush().await?;
        }
        Err(self.unexpected().into())
    }

    /// Judges `AuthenticationOk`.
    fn accept(&self, scram: &Scram) -> Result<(), LoginError> {
        let bound = match scram {
            Scram::NotBegun => false,
            Scram::Proven { bound } => *bound,
            Scram::Running { .. } => {
                let source = io::Error::new(io::ErrorKind::InvalidData, "it let us in without its proof");
                return Err(self.not_proven(source).into());
            }
        };
        if self.binding == ChannelBinding::Require && !bound {
            return Err(self.not_bound().into());
        }
        Ok(())
    }

    fn begin_scram(&self, body: &AuthenticationSaslBody, wire: &mut Wire) -> Result<Scram, ClientError> {
        let mut mechanisms = body.mechanisms();
        let (mut plain, mut plus) = (false, false);
        while let Some(name) = mechanisms.next().map_err(|_| self.unexpected())? {
            plain |= name == SCRAM_SHA_256;
            plus |= name == SCRAM_SHA_256_PLUS;
        }
        let hash = self.end_point.as_ref().filter(|_| self.binding != ChannelBinding::Disable);
        let (mechanism, binding, bound) = match hash {
            Some(hash) if plus => {
                (SCRAM_SHA_256_PLUS, sasl::ChannelBinding::tls_server_end_point(hash.clone()), true)
            }
            _ if self.binding == ChannelBinding::Require => return Err(self.not_bound()),
            // Says that we could have: a middleman that hid the offer is found out.
            Some(_) if plain => (SCRAM_SHA_256, sasl::ChannelBinding::unrequested(), false),
            None if plain => (SCRAM_SHA_256, sasl::ChannelBinding::unsupported(), false),
            _ => return Err(self.unsupported("an unknown SASL mechanism")),
        };
        let exchange = ScramSha256::new(self.password()?.reveal().as_bytes(), binding);
        wire.queue(|buffer| frontend::sasl_initial_response(mechanism, exchange.message(), buffer))?;
        Ok(Scram::Running { exchange, bound })
    }

    fn password(&self) -> Result<Password, ClientError> {
        let missing = |passfile| ClientError::NoPassword {
            endpoint: self.endpoint.clone(),
            user: self.user.to_owned(),
            passfile,
        };
        (self.password)().map_err(|error| missing(Some(error)))?.ok_or_else(|| missing(None))
    }

    fn forbid_when_bound(&self) -> Result<(), ClientError> {
        if self.binding == ChannelBinding::Require { Err(self.not_bound()) } else { Ok(()) }
    }

    fn not_bound(&self) -> ClientError {
        ClientError::NoChannelBinding { endpoint: self.endpoint.clone() }
    }

    fn unsupported(&self, method: &'static str) -> ClientError {
        ClientError::UnsupportedLogin { endpoint: self.endpoint.clone(), user: self.user.to_owned(), method }
    }

    fn not_proven(&self, source: io::Error) -> ClientError {
        ClientError::ServerNotProven { endpoint: self.endpoint.clone(), user: self.user.to_owned(), source }
    }

    fn unexpected(&self) -> ClientError {
        let what = "a message that does not belong into a login".to_owned();
        ClientError::Protocol { endpoint: self.endpoint.clone(), what }
    }
}
