//! Who the tracker is for the servers: a user, the bearer of a token, or nobody in particular.

use std::io::{self, ErrorKind};
use std::path::Path;
use std::str;

use async_nats::ConnectOptions;

use crate::config::{ConfigError, NatsSettings};
use crate::input;
use crate::server::StartError;

const SERVERS: &str = "sync.nats.servers";
const CREDENTIALS: &str = "sync.nats.credentials";
const USER: &str = "sync.nats.user";
const PASSWORD_FILE: &str = "sync.nats.password_file";
const TOKEN_FILE: &str = "sync.nats.token_file";

/// The largest secret, in bytes: credentials of some thousand permissions are smaller.
const MAX_SECRET: usize = 64 << 10;

/// Who the tracker is. Has no `Debug`, which might be logged.
pub(super) enum Login {
    /// Whoever the server takes somebody for who says nothing.
    Anonymous,
    /// A user with a password.
    User { name: String, password: String },
    /// Whoever has this token.
    Token(String),
    /// A user whose key signs what the server asks: the text of a file that `nsc` makes.
    Credentials(String),
}

/// Refuses settings that say two things or half of one.
pub(super) fn check(nats: &NatsSettings) -> Result<(), ConfigError> {
    if let Some(server) = nats.servers.iter().find(|server| server.has_user) {
        let instead = "sync.nats.user, password_file and token_file";
        return Err(ConfigError::secret_in_sight(SERVERS, server.to_string(), instead));
    }
    let set = [
        (CREDENTIALS, nats.credentials.is_some()),
        (USER, nats.user.is_some()),
        (TOKEN_FILE, nats.token_file.is_some()),
        (PASSWORD_FILE, nats.password_file.is_some()),
        (super::tls::TLS_CA, nats.tls_ca.is_some()),
    ];
    let set: Vec<_> = set.into_iter().filter(|(_, is_set)| *is_set).map(|(key, _)| key).collect();
    match set.first() {
        Some(key) if nats.servers.is_empty() => return Err(ConfigError::alone(key, SERVERS)),
        _ => {}
    }
    match (&nats.user, &nats.password_file) {
        (Some(_), None) => return Err(ConfigError::alone(USER, PASSWORD_FILE)),
        (None, Some(_)) => return Err(ConfigError::alone(PASSWORD_FILE, USER)),
        _ => {}
    }
    let identities: Vec<_> = set.into_iter().filter(|key| [CREDENTIALS, USER, TOKEN_FILE].contains(key)).collect();
    match identities[..] {
        [one, other, ..] => Err(ConfigError::together(one, other)),
        _ => Ok(()),
    }
}

impl Login {
    /// Reads the files of the secrets.
    ///
    /// # Errors
    ///
    /// A file that cannot be read, that others than its owner and its group can use, or in which there is no such
    /// secret.
    pub(super) fn read(nats: &NatsSettings) -> Result<Self, StartError> {
        if let Some(path) = &nats.credentials {
            let text = read(CREDENTIALS, path)?;
            // What is wrong with it is said now, and not with what is in it.
            ConnectOptions::with_credentials(&text).map_err(|_| {
                let reason = "it is no file of credentials as nsc makes them: a JWT of a user and a seed, each between two lines";
                unfit(CREDENTIALS, path, reason)
            })?;
            return Ok(Self::Credentials(text));
        }
        if let Some(path) = &nats.token_file {
            return Ok(Self::Token(read_line(TOKEN_FILE, path)?));
        }
        match (&nats.user, &nats.password_file) {
            (Some(name), Some(path)) => {
                Ok(Self::User { name: name.clone(), password: read_line(PASSWORD_FILE, path)? })
            }
            _ => Ok(Self::Anonymous),
        }
    }

    /// Returns options by which the client is this one.
    pub(super) fn options(&self) -> io::Result<ConnectOptions> {
        match self {
            Self::Anonymous => Ok(ConnectOptions::new()),
            Self::User { name, password } => Ok(ConnectOptions::with_user_and_password(name.clone(), password.clone())),
            Self::Token(token) => Ok(ConnectOptions::with_token(token.clone())),
            Self::Credentials(text) => ConnectOptions::with_credentials(text),
        }
    }

    /// Returns what an operator looks at whom the server refuses.
    pub(super) fn in_words(&self) -> &'static str {
        match self {
            Self::Anonymous => {
                "the server asks for an identity, and none is configured: see sync.nats.user, token_file and credentials"
            }
            Self::User { .. } => "see sync.nats.user and password_file",
            Self::Token(_) => "see sync.nats.token_file",
            Self::Credentials(_) => "see sync.nats.credentials; they may have expired or been revoked",
        }
    }
}

/// Reads a text of one line, without the line breaks at its end.
fn read_line(key: &'static str, path: &Path) -> Result<String, StartError> {
    let text = read(key, path)?;
    let line = text.trim_end_matches(['\r', '\n']);
    if line.is_empty() {
        return Err(unfit(key, path, "it is empty"));
    }
    if line.contains(['\r', '\n']) {
        return Err(unfit(key, path, "it has several lines"));
    }
    Ok(line.to_owned())
}

fn read(key: &'static str, path: &Path) -> Result<String, StartError> {
    let bytes = input::read_secret(path, MAX_SECRET).map_err(|error| StartError::File {
        key,
        path: path.into(),
        error: io::Error::other(error),
    })?;
    String::from_utf8(bytes).map_err(|_| unfit(key, path, "it is not UTF-8"))
}

/// Returns the error of a file in which there is something else.
fn unfit(key: &'static str, path: &Path, reason: &'static str) -> StartError {
    StartError::File { key, path: path.into(), error: io::Error::new(ErrorKind::InvalidData, reason) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Settings;

    /// Returns what the check says of these keys.
    fn checked(change: impl FnOnce(&mut NatsSettings)) -> Result<(), String> {
        let mut settings = Settings::default();
        settings.sync.nats.servers = super::super::servers::tests::servers(&["localhost"]);
        change(&mut settings.sync.nats);
        check(&settings.sync.nats).map_err(|error| error.to_string())
    }

    #[test]
    fn half_an_identity_and_two_of_them_are_refused_by_the_names_of_the_keys() {
        let path = || Some("/secret".into());
        let alone = |key: &str, other: &str| Err(format!("{key} does nothing without {other}: set both or neither"));
        let together = |key: &str, other: &str| Err(format!("{key} cannot stand beside {other}: set one of them"));
        assert_eq!(checked(|_| ()), Ok(()));
        assert_eq!(checked(|nats| nats.credentials = path()), Ok(()));
        assert_eq!(checked(|nats| nats.token_file = path()), Ok(()));
        assert_eq!(checked(|nats| nats.user = Some("a".into())), alone(USER, PASSWORD_FILE));
        assert_eq!(checked(|nats| nats.password_file = path()), alone(PASSWORD_FILE, USER));
        let user = |nats: &mut NatsSettings| {
            nats.user = Some("a".into());
            nats.password_file = path();
        };
        assert_eq!(checked(user), Ok(()));
        let both = checked(|nats| {
            user(nats);
            nats.token_file = path();
        });
        assert_eq!(both, together(USER, TOKEN_FILE));
        let both = checked(|nats| {
            nats.credentials = path();
            nats.token_file = path();
        });
        assert_eq!(both, together(CREDENTIALS, TOKEN_FILE));
        let both = checked(|nats| {
            user(nats);
            nats.credentials = path();
        });
        assert_eq!(both, together(CREDENTIALS, USER));
        for key in [CREDENTIALS, TOKEN_FILE, PASSWORD_FILE, super::super::tls::TLS_CA] {
            let without_servers = checked(|nats| {
                nats.servers.clear();
                match key {
                    CREDENTIALS => nats.credentials = path(),
                    TOKEN_FILE => nats.token_file = path(),
                    PASSWORD_FILE => nats.password_file = path(),
                    _ => nats.tls_ca = path(),
                }
            });
            assert_eq!(without_servers, alone(key, SERVERS));
        }
    }
}
