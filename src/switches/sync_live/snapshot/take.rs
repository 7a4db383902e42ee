//! The joiner's side: asks, and takes.

use std::net::{SocketAddr, SocketAddrV4};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{timeout, timeout_at};
use tracing::{info, warn};

use crate::cluster::snapshot::{Candidate, MAX_PIECE, Next, Search, SnapshotError, Taker};
use crate::log::Complaints;
use crate::tracker::{Clock, Flavour};

use super::super::packet::{self, ASK, TrackerId};
use super::desk::{Desk, patiently};
use super::wire::{BUSY, GIVES, greeting, write_ask};

/// How long it may take to connect: both are in one network.
const CONNECT_TIME: Duration = Duration::from_secs(3);

/// Looks for a donor and takes its snapshot, until there is one or the search is over.
pub(super) async fn run<F: Flavour, C: Clock>(desk: Rc<Desk<F, C>>) {
    let complaints = Complaints::default();
    let notices = &desk.shared.notices;
    let mut search = Search::new(&desk.snapshots, Instant::now());
    loop {
        if notices.has_heard() {
            search.heard();
        }
        for (offer, donor) in notices.take_offers() {
            search.offered(offer, donor, Instant::now());
        }
        match search.next(Instant::now()) {
            Next::Ask => {
                let packet = packet::write(desk.id(), ASK, &write_ask());
                if let Err(error) = desk.shared.send_packet(&packet, 0) {
                    complaints.say(|| warn!("cannot ask for a snapshot: {error}; trying again"));
                }
            }
            Next::Wait(until) => {
                let _ = timeout_at(until.into(), notices.offered()).await;
            }
            Next::Take(candidate) => {
                let mut taker = Taker::new(Arc::clone(&desk.tracker), desk.snapshots.limits().max, Instant::now());
                match take(&desk, &candidate, &mut taker).await {
                    Ok(()) => {
                        taker.finish(&candidate.donor, Instant::now(), &desk.shared.counters);
                        search.taken(candidate);
                    }
                    Err(error) => {
                        taker.give_up(&candidate.donor, &error);
                        search.failed(candidate, &error);
                    }
                }
            }
            Next::Over(end) => return end.log(),
        }
    }
}

/// Takes the snapshot of a donor.
async fn take<F: Flavour, C: Clock>(
    desk: &Desk<F, C>,
    candidate: &Candidate<SocketAddr>,
    taker: &mut Taker<F>,
) -> Result<(), SnapshotError> {
    let Candidate { offer, donor, .. } = candidate;
    info!("taking a snapshot from {donor}: {offer}");
    let connected = timeout(CONNECT_TIME, connect(desk, *donor)).await;
    let mut stream = connected.map_err(|_| SnapshotError::Silent)??;
    // Ids of live sync have no more bits.
    let id = TrackerId::from_number(u32::try_from(offer.id).unwrap_or_default());
    patiently(stream.write_all(&greeting(id.0))).await?;
    let answer = patiently(stream.read_u8()).await;
    match answer {
        Ok(GIVES) => {}
        Ok(BUSY) => return Err(SnapshotError::Busy),
        Ok(_) => return Err(SnapshotError::Cut),
        Err(SnapshotError::Io(error)) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
            return Err(SnapshotError::Cut);
        }
        Err(error) => return Err(error),
    }
    let mut buffer = vec![0; MAX_PIECE];
    loop {
        let len = patiently(stream.read(&mut buffer)).await?;
        let bytes = buffer.get(..len).unwrap_or_default();
        if bytes.is_empty() {
            return Err(SnapshotError::Cut);
        }
        if taker.take(bytes, desk.clock.now(), Instant::now())? {
            return Ok(());
        }
    }
}

/// Connects from the interface's address, by which the donor knows the joiner.
async fn connect<F: Flavour, C>(desk: &Desk<F, C>, donor: SocketAddr) -> std::io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    let interface = desk.shared.link.interface;
    if !interface.is_unspecified() {
        socket.bind(SocketAddrV4::new(interface, 0).into())?;
    }
    socket.connect(donor).await
}
