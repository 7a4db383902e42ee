//! `sync-nats`: a cluster of trackers tells each other their peers over NATS, where multicast does not reach.
//!
//! - [`servers`]: where the servers are, and what they are called.
//! - [`secrets`]: who the tracker is for them.
//! - [`tls`]: which certificates are believed.
//! - [`connection`]: the connection.
//! - [`pool`]: which server is tried next, and when; what becomes of the connection is heard there.
//! - [`causes`]: why there is none, in words.
//! - [`exchange`]: what goes over it.
//! - [`machine`]: what is said when, and what comes of what is heard. It knows neither a connection nor a clock.
//! - [`member`]: what workers and the thread share.
//! - [`batch`], [`ask`]: messages, as bytes.
//! - [`journal`]: what was said, until it has surely gone out and for a while longer, in case somebody asks for it.
//! - [`senders`]: what was heard of whom, and what is missing.
//! - [`republish`]: tells of all peers again, where that is not enough.
//! - [`snapshot`]: how a tracker that starts takes over what others know.
//!
//! The way out: a worker puts a change into the [outbox](crate::cluster::outbox); the thread `nats` publishes what is
//! full or due. The way in: the same thread receives, and gives what it believes to the tracker. No worker waits for
//! either.

mod ask;
mod batch;
mod causes;
mod connection;
mod exchange;
#[cfg(any(test, fuzzing))]
pub(super) mod fuzz;
mod journal;
mod machine;
mod member;
mod pool;
mod republish;
mod secrets;
mod senders;
mod servers;
mod snapshot;
#[cfg(test)]
mod testing;
mod tls;

use std::borrow::Cow;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::time::timeout;
use tracing::{info, warn};

use crate::config::{ConfigError, Settings};
use crate::server::{Beginning, Joining, Opening, Plug, StartError, new_runtime, random_words};
use crate::tracker::{Change, Cluster, Flavour, Origin, TransportStatus};

use batch::NAME;
use connection::Connection;
use machine::Machine;
use member::{Member, Shared};
use secrets::Login;
use servers::Servers;
use snapshot::Party;
use tls::Authorities;

/// How long it takes until another client begins where one has come to its end.
const NEXT_CLIENT: Duration = Duration::from_secs(5);

/// This tracker as a member of the cluster that it has joined; none if it is in none, as no server is configured.
pub struct Node(Option<Membership>);

struct Membership {
    /// What the thread and the workers share.
    shared: Arc<Shared>,
    /// How to connect, until the thread takes it.
    connection: Mutex<Option<Connection>>,
}

/// What is read and looked up while the process can, and before it gives up what it does not need.
pub struct Opened(Option<Connection>);

impl Cluster for Node {
    const LISTENS: bool = true;
    const REMEMBERS_STOPS: bool = true;

    fn knows(&self, origin: Origin) -> bool {
        origin.is_by(NAME)
    }

    fn publish(&self, change: &Change) -> bool {
        // In no cluster there is nobody to tell: nothing has to be told again.
        self.0.as_ref().is_none_or(|member| member.shared.publish(change, Instant::now()))
    }

    fn reaches_beyond(&self, transport: &str) -> bool {
        transport != NAME && self.0.as_ref().is_some_and(|member| member.shared.is_connected())
    }

    fn hold(&self, change: &Change) -> bool {
        self.0.as_ref().is_none_or(|member| member.shared.outbox.hold(change, Instant::now()))
    }

    fn hear<'a>(&self, changes: Cow<'a, [Change]>) -> Cow<'a, [Change]> {
        match &self.0 {
            None => changes,
            Some(member) => member.shared.outbox.hear(NAME, changes),
        }
    }

    fn transports(&self) -> Vec<TransportStatus> {
        self.0.iter().map(|member| member.shared.status(Instant::now())).collect()
    }
}

impl Plug for Node {
    type Opened = Opened;

    fn check(settings: &Settings) -> Result<(), ConfigError> {
        secrets::check(&settings.sync.nats)?;
        if settings.sync.nats.servers.is_empty() { Ok(()) } else { settings.check_interval_in_cluster() }
    }

    /// Host names, certificates and secrets are read while the process may read them.
    fn open(opening: &mut Opening<'_>) -> Result<Opened, StartError> {
        let nats = &opening.settings.sync.nats;
        if nats.servers.is_empty() {
            return Ok(Opened(None));
        }
        let login = Login::read(nats)?;
        let authorities = Authorities::read(nats)?;
        let servers = Servers::resolve(&nats.servers)?;
        servers.ports().for_each(|port| opening.needs.connects_tcp(port));
        authorities.say_needs(opening.needs);
        let reaches_all_ports = !opening.settings.tracker.landlock;
        Ok(Opened(Some(Connection::new(servers, &login, authorities, reaches_all_ports, random_words()?.0)?)))
    }

    fn plug(Opened(connection): Opened, settings: &Settings) -> Result<Self, StartError> {
        let Some(connection) = connection else {
            warn!("sync.nats.servers is not configured: this tracker is in no cluster over NATS");
            return Ok(Self(None));
        };
        connection.check_confined()?;
        let sender = random_words()?.0;
        let cluster = settings.sync.nats.subject.clone();
        let servers = connection.servers();
        info!("in the cluster {cluster} over NATS, by {servers}; names are not looked up again before a restart");
        let shared = Shared::new(cluster, sender, Instant::now());
        Ok(Self(Some(Membership { shared: Arc::new(shared), connection: Mutex::new(Some(connection)) })))
    }

    fn begin<F: Flavour>(&self, beginning: &mut Beginning<'_, F>) -> Result<(), StartError> {
        let Some(Membership { shared, connection }) = &self.0 else { return Ok(()) };
        let Some(connection) = connection.lock().unwrap_or_else(PoisonError::into_inner).take() else { return Ok(()) };
        let runtime = new_runtime()?;
        let (shared, worker_counters) = (Arc::clone(shared), beginning.counters.for_worker());
        let (tracker, clock) = (Arc::clone(beginning.tracker), beginning.clock);
        let snapshots = Arc::clone(beginning.snapshots);
        let mut joining = beginning.joining();
        shared.set_snapshot(matches!(joining, Some(Joining::Now(_))));
        let inherits = beginning.inherits.is_some();
        beginning.threads.spawn("nats", move |stop| {
            let member = Member { shared: &shared, tracker: &tracker, worker_counters: &worker_counters, inherits };
            runtime.block_on(async {
                let mut machine = Machine::new(member);
                while !stop.is_stopped() {
                    let ended = match connection.connect().await {
                        Ok(client) => {
                            let (shared_too, tracker) = (Arc::clone(&shared), Arc::clone(&tracker));
                            let snapshots = Arc::clone(&snapshots);
                            let party = Party::new(client.clone(), shared_too, tracker, clock, snapshots);
                            snapshot::start(party, joining.take());
                            exchange::run(&client, &mut machine, clock, &stop).await
                        }
                        Err(error) => {
                            // There is nobody to take a snapshot from.
                            drop(joining.take());
                            shared.set_snapshot(false);
                            Err(error)
                        }
                    };
                    let Err(error) = ended else { return };
                    warn!("the client of NATS has come to its end, and another one begins: {error}");
                    let _ = timeout(NEXT_CLIENT, stop.stopped()).await;
                }
            });
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tracker::{InfoHash, Minute};

    #[test]
    fn without_a_server_a_node_is_in_no_cluster() {
        let settings = Settings::default();
        assert_eq!(Node::check(&settings), Ok(()));
        let mut needs = crate::server::Needs::default();
        let mut sockets = crate::server::PlugSockets::default();
        let mut opening = Opening { settings: &settings, user: None, needs: &mut needs, sockets: &mut sockets };
        let opened = Node::open(&mut opening).unwrap();
        assert!(!needs.connects() && !needs.opens_files());
        let node = Node::plug(opened, &settings).unwrap();
        let change = Change {
            info_hash: InfoHash([1; 20]),
            endpoint: ([192, 0, 2, 1], 1).into(),
            seeder: false,
            completed: false,
            stopped: false,
            seen: Minute(1),
            origin: Origin::Client,
        };
        assert!(node.publish(&change));
        assert!(!node.reaches_beyond("sync"));
        assert_eq!(node.transports(), vec![]);
        node.finish(Instant::now());
    }

    #[test]
    fn an_interval_after_which_others_have_forgotten_the_peer_is_refused() {
        let check = |interval, servers: &[&str]| {
            let mut settings = Settings::default();
            settings.tracker.interval = interval;
            settings.sync.nats.servers = servers::tests::servers(servers);
            Node::check(&settings).map_err(|error| error.to_string())
        };
        let said = "tracker.interval is 1801, but may be at most 1800: in a cluster (livesync.cluster.listen, \
                    sync.nats.servers) the others forget a peer after 45 minutes";
        assert_eq!(check(1800, &["localhost"]), Ok(()));
        assert_eq!(check(1801, &["localhost"]), Err(said.into()));
        assert_eq!(check(3600, &[]), Ok(()), "alone nobody else forgets it");
    }
}
