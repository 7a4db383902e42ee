//! The connection: made and made anew for ever, and what becomes of it said in words.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_nats::{Client, ConnectOptions, ServerAddr};
use tracing::warn;

use crate::server::StartError;

use super::pool::Pool;
use super::secrets::Login;
use super::servers::Servers;
use super::tls::{self, Authorities};

/// How long a server may take to answer a connection, until it has taken the tracker's login.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often the client asks a server that is silent whether it is still there. Two questions without an answer are a
/// cut.
const PING_INTERVAL: Duration = Duration::from_secs(5);

/// Messages that wait to be written at most. The exchange's are 64 kB at most: 4 MB.
const CLIENT_CAPACITY: usize = 64;
/// Messages of one subscription that wait to be read at most: 16 MiB of what trackers send. What comes beyond that is
/// dropped, and missed. The client has one number for all: there are five, and six while a snapshot is taken, so 96 MiB
/// of what trackers send, and 1.5 GiB of messages as long as a server permits by default.
const SUBSCRIPTION_CAPACITY: usize = 256;

/// How to connect, and to whom.
pub(super) struct Connection {
    servers: Servers,
    urls: Vec<ServerAddr>,
    options: ConnectOptions,
    /// The server has to show a certificate.
    has_tls: bool,
    pool: Arc<Pool>,
}

impl Connection {
    /// Makes what the thread connects by. Where not `reaches_all_ports`, servers that others announce are left aside
    /// unless they have one of the configured ports. Pauses are chosen by `seed`, so that not all trackers make the
    /// same.
    ///
    /// # Errors
    ///
    /// TLS is asked for and no certificate would be believed.
    pub(super) fn new(
        servers: Servers,
        login: &Login,
        authorities: Authorities,
        reaches_all_ports: bool,
        seed: u64,
    ) -> Result<Self, StartError> {
        let failed = |error: io::Error| StartError::System { what: "prepare connections to NATS", error };
        let has_tls = authorities.is_chosen() || servers.any_has_tls();
        if has_tls && authorities.is_empty() {
            return Err(failed(io::Error::other(
                "the system has no certificates: install ca-certificates, or set sync.nats.tls_ca",
            )));
        }
        let trusted = authorities.in_words();
        let urls = servers.urls().map_err(failed)?;
        // What a server says before TLS is not to be trusted: it could announce one that has none.
        let requires_tls = authorities.is_chosen() || servers.all_have_tls();
        let config = authorities.config(servers.clone()).map_err(|error| failed(io::Error::other(error)))?;
        let options = login.options().map_err(failed)?.require_tls(requires_tls).tls_client_config(config);
        let ports = (!reaches_all_ports).then(|| servers.ports().collect());
        let pool = Arc::new(Pool::new(servers.clone(), login.in_words(), trusted, ports, seed));
        Ok(Self { servers, urls, options, has_tls, pool })
    }

    /// Returns the servers, as they were configured.
    pub(super) fn servers(&self) -> &Servers {
        &self.servers
    }

    /// Checks in the confined process that connections of TLS can be made there.
    ///
    /// # Errors
    ///
    /// They cannot, and TLS is asked for.
    pub(super) fn check_confined(&self) -> Result<(), StartError> {
        match tls::check_system() {
            Ok(()) => Ok(()),
            Err(error) if self.has_tls => Err(StartError::System {
                what: "read the system's certificates, as the client of NATS does for each connection of TLS",
                error: io::Error::other(error),
            }),
            Err(error) => {
                warn!("connections of TLS to servers of NATS cannot be made: {error}");
                Ok(())
            }
        }
    }

    /// Begins to connect, and goes on for ever. Returns at once, with the client. To be called in an event loop.
    ///
    /// # Errors
    ///
    /// There are none: whether servers answer is said in the log.
    pub(super) async fn connect(&self) -> Result<Client, async_nats::Error> {
        let (pool, listener) = (Arc::clone(&self.pool), Arc::clone(&self.pool));
        let options = self.options.clone();
        let options = options
            .name("opentracker")
            .retry_on_initial_connect()
            .max_reconnects(None)
            .connection_timeout(PATIENCE)
            .ping_interval(PING_INTERVAL)
            .client_capacity(CLIENT_CAPACITY)
            .subscription_capacity(SUBSCRIPTION_CAPACITY)
            .reconnect_to_server_callback(move |known, _| {
                let chosen = pool.choose(&known, Instant::now());
                async move { chosen }
            })
            .event_callback(move |event| {
                listener.hear(&event);
                async {}
            });
        Ok(options.connect(self.urls.clone()).await?)
    }
}
