//! What an operator can choose, as one plain value: made by the command line and configuration files, read by those
//! who start the tracker. What each setting is for and what its default means, the rows of the keys say.

use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU16;
use std::path::PathBuf;

use ipnet::IpNet;

use super::client_id::ClientId;
use super::nats_server::NatsServer;

/// The port of both protocols where none is named.
pub const DEFAULT_PORT: u16 = 6969;

/// The port of live sync where none is named.
pub const LIVESYNC_PORT: u16 = 9696;

/// Everything that an operator can choose. `Settings::default()` is a tracker that is open to every torrent.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Settings {
    /// Where to listen, and with how many workers.
    pub listen: ListenSettings,
    /// Who may use the tracker, for which torrents, and who may see its statistics.
    pub access: AccessSettings,
    /// The cluster that this tracker belongs to.
    pub livesync: LivesyncSettings,
    /// What holds for every transport of a cluster, and the transport that is NATS.
    pub sync: SyncSettings,
    /// The process and its answers.
    pub tracker: GeneralSettings,
    /// Bounds on what strangers can make the tracker hold.
    pub limits: LimitSettings,
}

/// `[listen]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListenSettings {
    /// Addresses that answer HTTP: `listen.tcp` and `listen.tcp_udp`. Port 0, here and in `udp`, means any free port.
    pub tcp: Vec<SocketAddr>,
    /// Addresses that answer UDP: `listen.udp` and `listen.tcp_udp`.
    pub udp: Vec<SocketAddr>,
    /// The address of the last `-i` of the command line, on which the default port is opened when `tcp` and `udp` are
    /// both empty.
    pub default_ip: Option<IpAddr>,
    /// Threads that answer UDP, each with a socket of its own for each address; 0 stands for one for each CPU.
    pub udp_workers: u16,
    /// Threads that answer HTTP; 0 stands for one for each CPU.
    pub tcp_workers: u16,
    /// How long a UDP connection id is sure to be accepted, in minutes.
    pub udp_connection_id_minutes: NonZeroU16,
    /// The file with the key from which several trackers derive the same UDP connection ids.
    pub udp_connection_id_key_file: Option<PathBuf>,
}

impl Default for ListenSettings {
    fn default() -> Self {
        Self {
            tcp: Vec::new(),
            udp: Vec::new(),
            default_ip: None,
            udp_workers: 0,
            tcp_workers: 0,
            udp_connection_id_minutes: NonZeroU16::new(60).unwrap_or(NonZeroU16::MIN),
            udp_connection_id_key_file: None,
        }
    }
}

/// `[access]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessSettings {
    /// The file that lists the only torrents served (`accesslist-white`).
    pub whitelist: Option<PathBuf>,
    /// The file that lists torrents that are not served (`accesslist-black`).
    pub blacklist: Option<PathBuf>,
    /// Minutes after which a client may ask again that a list refuses; `None`: never.
    pub refusal_minutes: Option<NonZeroU16>,
    /// How such a refusal goes out over UDP.
    pub refusal_over_udp: RefusalOverUdp,
    /// The FIFO for torrents that are put on the list (`accesslist-dynamic`).
    pub fifo_add: Option<PathBuf>,
    /// The FIFO for torrents that are taken off it (`accesslist-dynamic`).
    pub fifo_delete: Option<PathBuf>,
    /// In how many torrents at most the list in force differs from its file (`accesslist-dynamic`).
    pub dynamic_max: u32,
    /// The socket for commands that change the list (`accesslist-dynamic`).
    pub control: Option<PathBuf>,
    /// The group that can write to the socket and to FIFOs that the tracker makes (`accesslist-dynamic`).
    pub control_group: Option<String>,
    /// Networks that may read the statistics (`restrict-stats`).
    pub stats: Vec<IpNet>,
    /// The path of the statistics, without its leading slash.
    pub stats_path: String,
    /// Networks whose whole requests are kept (`fulllog-networks`).
    pub log_networks: Vec<IpNet>,
    /// Proxies that are believed when they name a client's address (`ip-from-proxy`).
    pub proxy: Vec<IpNet>,
    /// The header in which a proxy names the client's address (`ip-from-proxy`).
    pub proxy_header: String,
    /// Connections from proxies begin with a header of the PROXY protocol (`ip-from-proxy`).
    pub proxy_protocol: bool,
    /// Clients that are not served (`client-ids`).
    pub client_ids_denied: Vec<ClientId>,
    /// The file that lists more of them (`client-ids`).
    pub client_ids_denied_file: Option<PathBuf>,
    /// The only clients that are served, if there is a list of them, here or in the file (`client-ids`).
    pub client_ids_allowed: Option<Vec<ClientId>>,
    /// The file that lists more of them (`client-ids`).
    pub client_ids_allowed_file: Option<PathBuf>,
}

impl Default for AccessSettings {
    fn default() -> Self {
        Self {
            whitelist: None,
            blacklist: None,
            refusal_minutes: NonZeroU16::new(60),
            refusal_over_udp: RefusalOverUdp::Error,
            fifo_add: None,
            fifo_delete: None,
            dynamic_max: 1_000_000,
            control: None,
            control_group: None,
            stats: Vec::new(),
            stats_path: "stats".into(),
            log_networks: Vec::new(),
            proxy: Vec::new(),
            proxy_header: "X-Forwarded-For".into(),
            proxy_protocol: false,
            client_ids_denied: Vec::new(),
            client_ids_denied_file: None,
            client_ids_allowed: None,
            client_ids_allowed_file: None,
        }
    }
}

/// How a torrent or a client is refused over UDP, where an error cannot say when the client may ask again
/// (`accesslist-white`, `accesslist-black`, `client-ids`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefusalOverUdp {
    /// By an error with the reason.
    Error,
    /// By a reply without peers, whose interval says it.
    Empty,
}

/// `[livesync]` (`sync-live`)
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LivesyncSettings {
    /// The interface's own address, and the port, that multicast packets are sent from and received on.
    pub listen: Option<SocketAddr>,
    /// Networks whose sync packets are believed.
    pub node_ip: Vec<IpNet>,
}

/// `[sync]` (`sync-live`, `sync-nats`)
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SyncSettings {
    /// Seconds that the tracker waits for a snapshot before it says that it is ready.
    pub snapshot_wait: u16,
    /// Bytes a second that it gives of a snapshot at most; 0: it gives none.
    pub snapshot_rate: u64,
    /// Bytes that a snapshot which it takes has at most; 0: it takes none.
    pub snapshot_max: u64,
    /// `[sync.nats]`
    pub nats: NatsSettings,
}

impl Default for SyncSettings {
    fn default() -> Self {
        Self { snapshot_wait: 10, snapshot_rate: 4_000_000, snapshot_max: 4_000_000_000, nats: NatsSettings::default() }
    }
}

/// `[sync.nats]` (`sync-nats`). Files are read before the process is jailed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NatsSettings {
    /// In the order in which they were given; none: this tracker is in no cluster over NATS.
    pub servers: Vec<NatsServer>,
    /// What the subjects of the cluster begin with.
    pub subject: String,
    /// The file with a token and a key that `nsc` makes.
    pub credentials: Option<PathBuf>,
    /// The file with the certificates that are trusted instead of the system's.
    pub tls_ca: Option<PathBuf>,
    /// Who the tracker is for the server, with `password_file`.
    pub user: Option<String>,
    /// The file with the password of `user`.
    pub password_file: Option<PathBuf>,
    /// The file with a token, instead of a user.
    pub token_file: Option<PathBuf>,
}

impl Default for NatsSettings {
    fn default() -> Self {
        Self {
            servers: Vec::new(),
            subject: "opentracker".into(),
            credentials: None,
            tls_ca: None,
            user: None,
            password_file: None,
            token_file: None,
        }
    }
}

/// `[tracker]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GeneralSettings {
    /// The directory that becomes the root directory (as root) or the working directory (otherwise).
    pub rootdir: Option<PathBuf>,
    /// The user to become when started as root.
    pub user: String,
    /// The URL to which `GET /` redirects.
    pub redirect_url: Option<String>,
    /// Seconds between two announces of a client, on average: 300 to 3600.
    pub interval: u32,
    /// Seconds before which another announce is not welcome: 60 to `interval`. Without it, half of what the client is
    /// told.
    pub min_interval: Option<u32>,
    /// The state dump that is read at the start (`fullscrape`).
    pub statefile: Option<PathBuf>,
    /// Files and connections that the tracker does not need are put out of its reach, where the kernel has Landlock.
    pub landlock: bool,
    /// What becomes of system calls that the tracker does not need (`seccomp`).
    pub seccomp: SystemCallRule,
    /// The socket over which the tracker takes over from one that runs, and hands over to the next (`handover`).
    pub handover: Option<PathBuf>,
    /// Whom the log goes to, if not to standard error (`syslog`).
    pub syslog: SyslogSocket,
}

impl Default for GeneralSettings {
    fn default() -> Self {
        Self {
            rootdir: None,
            user: "nobody".into(),
            redirect_url: None,
            interval: 1800,
            min_interval: None,
            statefile: None,
            landlock: true,
            seccomp: SystemCallRule::Refuse,
            handover: None,
            syslog: SyslogSocket::Unused,
        }
    }
}

/// The socket that the log is sent to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SyslogSocket {
    /// None: the log goes to standard error.
    Unused,
    /// The journal's if that is there, else that of syslog.
    Found,
    /// This one.
    At(PathBuf),
}

/// What becomes of system calls that the tracker does not need.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SystemCallRule {
    /// The kernel refuses them.
    Refuse,
    /// The kernel logs them.
    Log,
    /// They are made like all others.
    Allow,
}

/// `[limits]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LimitSettings {
    /// Torrents held at most; 0 leaves it to the memory.
    pub torrents: u64,
    /// Peers held at most, over all torrents; 0 leaves it to the memory.
    pub peers: u64,
    /// Peers of one address in a torrent at most, or a sixteenth of those of its family, whichever is more; 0 is no
    /// limit.
    pub peers_per_address: u32,
    /// TCP connections held open at most; 0 leaves it to the memory and the limit of open files.
    pub connections: u64,
    /// TCP connections held open at most for one IPv4 address or IPv6 network of 64 bits; 0 is no limit.
    pub connections_per_address: u64,
    /// Errors a second to an address that has not proved itself over UDP; 0 is no limit.
    pub udp_errors_per_address: u32,
    /// Seconds after which an address gets another full scrape; 0 is no limit.
    pub full_scrape_interval: u32,
    /// Bytes that whole requests take at most that are kept (`fulllog-networks`).
    pub full_log: u64,
}

impl Default for LimitSettings {
    fn default() -> Self {
        Self {
            torrents: 0,
            peers: 0,
            peers_per_address: 16,
            connections: 0,
            connections_per_address: 0,
            udp_errors_per_address: 1000,
            full_scrape_interval: 300,
            full_log: 1 << 20,
        }
    }
}
