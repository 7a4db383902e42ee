//! Drivers: what brings datagrams to a [`Service`], lends memory for the replies, and sends them.

use std::io::{self, ErrorKind};
use std::net::UdpSocket;
use std::os::fd::AsFd;
use std::time::Duration;

use tracing::warn;

use crate::log::Complaints;
use crate::stop::StopToken;
use crate::tracker::{Clock, Flavour};

use super::interrupt;
use super::service::{Question, Service};

/// How long to wait after an error that is not a datagram's own, such as a machine without memory.
const PAUSE: Duration = Duration::from_millis(100);

/// What the UDP side of a build can differ in.
pub trait UdpFlavour: Flavour {
    /// What drives its services. It takes over a bound socket while the process still has all its rights.
    type Driver: Driver + TryFrom<UdpSocket, Error = io::Error>;
}

/// Exchanges datagrams with the network for one worker, in batches. [`run`] calls [`receive`](Self::receive),
/// [`answer`](Self::answer) and [`send`](Self::send) in turn. When a worker has ended, another can begin with the same
/// driver; its descriptor is what another process needs to go on in its place.
pub trait Driver: AsFd + Send + Sync + 'static {
    /// Memory for a batch: its datagrams, their replies, and what the system is told of them.
    type Batch;

    /// Makes the memory, in the thread of the worker, which it does not leave.
    fn batch(&self) -> Self::Batch;

    /// Waits until a datagram has come, and takes it with those that have come as well. Never waits for a batch to
    /// become full, nor any longer when a signal comes to the thread.
    ///
    /// # Errors
    ///
    /// Nothing was received. `Interrupted` (by a signal) and `WouldBlock` mean no more than that.
    fn receive(&self, batch: &mut Self::Batch) -> io::Result<()>;

    /// Has `answer` answer what was received last, in memory of
    /// [`REPLY_BUFFER_LEN`](super::service::REPLY_BUFFER_LEN) bytes for each reply.
    fn answer(&self, batch: &mut Self::Batch, answer: impl FnOnce(&mut [Question<'_>]));

    /// Sends what was answered last. A reply that cannot be sent is dropped, as any router might drop it.
    fn send(&self, batch: &mut Self::Batch);
}

/// Answers what `driver` brings, until [`stop`](StopToken::stop) is called, which interrupts the thread. A batch that
/// has been received is answered; what has not been stays with the driver.
pub fn run<F: Flavour>(driver: &impl Driver, mut service: Service<F>, clock: impl Clock, stop: &StopToken) {
    let _registration =
        interrupt::on_stop(stop).inspect_err(|error| warn!("a UDP worker ends with its next datagram: {error}"));
    let mut batch = driver.batch();
    let complaints = Complaints::default();
    while !stop.is_stopped() {
        match driver.receive(&mut batch) {
            Ok(()) => {
                driver.answer(&mut batch, |questions| service.answer(questions, clock.second()));
                driver.send(&mut batch);
            }
            Err(error) if matches!(error.kind(), ErrorKind::Interrupted | ErrorKind::WouldBlock) => {}
            Err(error) => {
                complaints.say(|| warn!("cannot receive over UDP: {error}; trying again"));
                stop.sleep(PAUSE);
            }
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::net::{Ipv4Addr, SocketAddr};
    use std::num::NonZero;
    use std::os::fd::BorrowedFd;
    use std::sync::{Arc, Mutex};

    use fastrand::Rng;

    use super::super::ConnectionIds;
    use super::super::service::REPLY_BUFFER_LEN;
    use super::*;
    use crate::tracker::flavour::Standalone;
    use crate::tracker::testing::{NotThatOne, TestTracker};
    use crate::tracker::{Capacity, Ipv4Only, Minute, Second};

    pub(crate) const NOW: Minute = Minute(1000);

    /// A datagram as hexadecimal digits, the last number of its sender's address (192.0.2.n), and the reply; dots stand
    /// for the interval, which is drawn.
    type Recorded = (u8, &'static str, &'static str);

    /// A conversation, batch by batch.
    const RECORDED: [&[Recorded]; 4] = [
        &[
            (1, "00000417271019800000000011111111", "0000000011111111cda29a56d7938867"),
            (2, "00000417271019800000000022222222", "000000002222222295907277aa86da9b"),
            (3, "00000417271019800000", ""),
            (3, "00000417271019800000000033333333", "0000000033333333ec87b86d17be969e"),
        ],
        &[
            (
                1,
                "cda29a56d793886700000001111111120123456789abcdef0123456789abcdef012345672d4245303030312d61626364\
                65666768696a6b6c000000000000000000000000000003e8000000000000000000000002000000005eed5eedffffffff\
                1ae102092f616e6e6f756e6365",
                "0000000111111112........0000000100000000",
            ),
            (
                2,
                "95907277aa86da9b00000001222222230123456789abcdef0123456789abcdef012345672d4245303030312d61626364\
                65666768696a6b6c00000000000000000000000000000000000000000000000000000001000000005eed5eed00000032\
                c8d5",
                "0000000122222223........0000000100000001c00002011ae1",
            ),
            (
                3,
                "95907277aa86da9b00000001333333340123456789abcdef0123456789abcdef012345672d4245303030312d61626364\
                65666768696a6b6c00000000000000000000000000000000000000000000000000000002000000005eed5eed00000032\
                1ae2",
                "0000000333333334436f6e6e656374696f6e204944206d6973736d617463682e00",
            ),
            (
                3,
                "ec87b86d17be969e00000001333333350123456789abcdef0123456789abcdef012345672d4245303030312d61626364\
                65666768696a6b6c00000000000000000000000000000000000000000000000000000002000000005eed5eed00000032\
                1ae2",
                "0000000133333335........0000000100000002c00002011ae1c0000202c8d5",
            ),
        ],
        &[
            (
                1,
                "cda29a56d793886700000002111111130123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\
                0123456789abcdef",
                "0000000211111113000000020000000100000001000000000000000000000000",
            ),
            (
                4,
                "20403b375bbdf302000000014444444421212121212121212121212121212121212121212d4245303030312d61626364\
                65666768696a6b6c00000000000000000000000000000000000000000000000000000000000000005eed5eedffffffff\
                0050",
                "000000034444444452657175657374656420646f776e6c6f6164206973206e6f7420617574686f72697a656420666f72\
                207573652077697468207468697320747261636b65722e",
            ),
            (
                4,
                "20403b375bbdf30200000001444444450123456789abcdef0123456789abcdef012345672d4245303030312d61626364\
                65666768696a6b6c00000000000000000000000000000000000000000000000000000000000000005eed5eedffffffff\
                00",
                "0000000344444445416e6e6f756e636520697320746f6f2073686f72742e",
            ),
            (
                4,
                "20403b375bbdf30200000001444444460123456789abcdef0123456789abcdef012345672d4245303030312d61626364\
                65666768696a6b6c00000000000000000000000000000001000000000000000000000000000000005eed5eedffffffff\
                0000",
                "0000000144444446........0000000100000002c00002031ae2c00002011ae1c0000202c8d5",
            ),
        ],
        &[
            (
                1,
                "cda29a56d793886700000001111111140123456789abcdef0123456789abcdef012345672d4245303030312d61626364\
                65666768696a6b6c000000000000000000000000000001f4000000000000000000000003000000005eed5eedffffffff\
                1ae1",
                "0000000111111114........0000000000000002",
            ),
            (4, "20403b375bbdf3020000000544444447", ""),
        ],
    ];

    /// Datagrams, and whom they come from or go to.
    type Datagrams = Vec<(SocketAddr, Vec<u8>)>;

    /// Plays recorded datagrams, and lends memory in one piece for all replies of a batch.
    struct Player {
        stop: StopToken,
        /// What is still to be played, the first batch at the end.
        batches: Mutex<Vec<&'static [Recorded]>>,
        sent: Arc<Mutex<Datagrams>>,
        socket: UdpSocket,
    }

    #[derive(Default)]
    struct Memory {
        arrived: Datagrams,
        replies: Vec<u8>,
        lens: Vec<usize>,
    }

    fn client(n: u8) -> SocketAddr {
        (Ipv4Addr::new(192, 0, 2, n), 40_000).into()
    }

    fn bytes(digits: &str) -> Vec<u8> {
        let digits: Vec<_> = digits.bytes().filter(|digit| *digit != b' ').collect();
        digits.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
    }

    /// A clock that stands still.
    #[derive(Clone, Copy)]
    pub(crate) struct Fixed;

    impl Clock for Fixed {
        fn second(self) -> Second {
            NOW.into()
        }
    }

    impl AsFd for Player {
        fn as_fd(&self) -> BorrowedFd<'_> {
            self.socket.as_fd()
        }
    }

    impl Driver for Player {
        type Batch = Memory;

        fn batch(&self) -> Memory {
            Memory::default()
        }

        fn receive(&self, memory: &mut Memory) -> io::Result<()> {
            let Some(played) = self.batches.lock().unwrap().pop() else {
                self.stop.stop();
                return Err(ErrorKind::WouldBlock.into());
            };
            memory.arrived = played.iter().map(|(from, datagram, _)| (client(*from), bytes(datagram))).collect();
            // Bytes from before must not show in a reply.
            memory.replies = vec![0xff; played.len() * REPLY_BUFFER_LEN];
            Ok(())
        }

        fn answer(&self, memory: &mut Memory, answer: impl FnOnce(&mut [Question<'_>])) {
            let Memory { arrived, replies, lens } = memory;
            let lent = arrived.iter().zip(replies.chunks_exact_mut(REPLY_BUFFER_LEN));
            let mut questions: Vec<_> =
                lent.map(|((from, datagram), reply)| Question::new(datagram, *from, reply)).collect();
            answer(&mut questions);
            *lens = questions.iter().map(|question| question.reply_len).collect();
        }

        fn send(&self, memory: &mut Memory) {
            let Memory { arrived, replies, lens } = memory;
            let replies = replies.chunks_exact(REPLY_BUFFER_LEN).zip(lens).map(|(reply, len)| reply[..*len].to_vec());
            self.sent.lock().unwrap().extend(arrived.iter().map(|(from, _)| *from).zip(replies));
        }
    }

    #[test]
    fn a_recorded_conversation_is_answered_byte_for_byte() {
        let ids = ConnectionIds::new((1, 2), NonZero::new(2).unwrap());
        let tracker = TestTracker::<Ipv4Only, _>::with_plugs(Capacity::NONE, NOW, NotThatOne, Standalone);
        let service = Service::new(Arc::new(tracker), ids, Arc::default(), Rng::with_seed(1));
        let (stop, sent) = (StopToken::default(), Arc::new(Mutex::new(Vec::new())));
        let batches = Mutex::new(RECORDED.into_iter().rev().collect());
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let player = Player { stop: stop.clone(), batches, sent: Arc::clone(&sent), socket };
        run(&player, service, Fixed, &stop);
        let sent = sent.lock().unwrap();
        let expected: Vec<_> = RECORDED.into_iter().flatten().collect();
        assert_eq!(sent.len(), expected.len());
        for ((to, reply), (from, datagram, expected)) in sent.iter().zip(expected) {
            assert_eq!(*to, client(*from));
            let mut reply: String = reply.iter().map(|byte| format!("{byte:02x}")).collect();
            if let Some(at) = expected.find('.') {
                let interval = u32::from_str_radix(&reply[at..at + 8], 16).unwrap();
                assert!((1620..=1980).contains(&interval), "{interval}");
                reply.replace_range(at..at + 8, "........");
            }
            assert_eq!(reply, *expected, "to {datagram}");
        }
    }
}
