//! What is plugged in, and how long it lives.

use std::sync::Arc;
use std::time::Instant;

use crate::cluster::snapshot::Snapshots;
use crate::config::{BuildFacts, ConfigError, Settings};
use crate::http::HttpFlavour;
use crate::http::coding::NoCoding;
use crate::http::flavour::{Connected, Everyone, NoRoute, RequestsUnlogged, Unlimited, Untimed};
use crate::http::wrapper::NoWrapper;
use crate::stats::Counters;
use crate::tracker::{AddressFamilies as _, AnyClient, Flavour, Open, Standalone, Tracker, Unlogged, WantedUnlogged};
use crate::udp::UdpFlavour;

use super::account::Account;
use super::clock::MonotonicClock;
use super::error::StartError;
use super::inheriting::{Inheriting, Joining};
use super::needs::Needs;
use super::plug_sockets::PlugSockets;
use super::readiness::Readiness;
use super::system_calls::ProcessFlavour;
use super::threads::Threads;

/// A whole build: a value with a plug for each plug point, which as a whole is a plug. The server knows no more of the
/// switches. `plugs!` makes one.
pub trait Build: HttpFlavour + UdpFlavour + ProcessFlavour + Plug {
    /// Returns what the configuration is told about this build.
    fn facts() -> BuildFacts<'static> {
        BuildFacts {
            features: Self::FEATURES,
            ipv4: Self::Families::IPV4,
            ipv6: Self::Families::IPV6,
            check: Self::check,
        }
    }
}

impl<B: HttpFlavour + UdpFlavour + ProcessFlavour + Plug> Build for B {}

/// What there is when [`Plug::open`] is called.
#[derive(Debug)]
pub struct Opening<'a> {
    /// What the operator chose. Paths are as they are seen from outside the jail.
    pub settings: &'a Settings,
    /// Whom the process will become; `None`: it stays who it is.
    pub user: Option<&'a Account>,
    /// Unix sockets that come from the process before, and those that go to the next one.
    pub sockets: &'a mut PlugSockets,
    /// Where the plug says what it will still do from [`Plug::plug`] on. All else is out of its reach by then.
    pub needs: &'a mut Needs,
}

/// What there is when [`Plug::begin`] is called.
pub struct Beginning<'a, F: Flavour> {
    /// What the operator chose. Paths are as they are seen from inside the jail.
    pub settings: &'a Settings,
    /// The tracker, still without peers.
    pub tracker: &'a Arc<Tracker<F>>,
    /// Where a new thread gets counters of its own, or adds up what all have counted.
    pub counters: &'a Arc<Counters>,
    /// The memory that this process may use, in bytes.
    pub memory: u64,
    /// The time.
    pub clock: MonotonicClock,
    /// Where a new thread is started.
    pub threads: &'a mut Threads,
    /// Where a plug says that the tracker is not ready yet.
    pub readiness: &'a Readiness,
    /// If the swarms of a predecessor are to be there before anybody is answered: whether all of them have come.
    pub inherits: Option<Inheriting>,
    /// The snapshots that the tracker gives and takes, whatever transport brings them.
    pub snapshots: &'a Arc<Snapshots>,
}

impl<F: Flavour> Beginning<'_, F> {
    /// Returns when a snapshot is to be asked for; `None` if never. The tracker is not ready until what it may return
    /// at the end is dropped.
    pub fn joining(&self) -> Option<Joining> {
        let joining = || match &self.inherits {
            None => Joining::Now(self.readiness.begin()),
            Some(inheriting) => Joining::IfLacking(inheriting.clone()),
        };
        self.snapshots.asks().then(joining)
    }
}

/// What fills a plug point, from the start of the process to its end. In this order: `check`, `open`, `plug`, `begin`,
/// `reload` for each SIGHUP, `finish`; in a handover the old process is told to `pause`, and to `resume` if that fails.
/// What a plug has no use for it leaves out.
pub trait Plug: Sized + Send + Sync + 'static {
    /// What [`open`](Self::open) makes and [`plug`](Self::plug) takes.
    type Opened: Send;

    /// Checks what the plug requires of the settings. Has no effects: `--check-config` calls nothing else.
    ///
    /// # Errors
    ///
    /// A setting without which the tracker must not start: see [`ConfigError::missing`].
    fn check(_: &Settings) -> Result<(), ConfigError> {
        Ok(())
    }

    /// Does what needs the rights and the sight of the process that was started: resolves host names, reads
    /// credentials, binds ports. Root has not been given up, and the whole file system is there. Says to
    /// [`Opening::needs`] which files are read later, and what else is done then. A plug with nothing to do or say here
    /// writes `opens_nothing!()` for this and for the type: then [`plug`](Self::plug) takes `()`.
    ///
    /// # Errors
    ///
    /// What keeps the tracker from starting.
    fn open(opening: &mut Opening<'_>) -> Result<Self::Opened, StartError>;

    /// Makes the plug. Root has been given up, files are opened inside the jail, and only those that
    /// [`open`](Self::open) has named can be.
    ///
    /// # Errors
    ///
    /// What keeps the tracker from starting.
    fn plug(opened: Self::Opened, settings: &Settings) -> Result<Self, StartError>;

    /// Called once, when the tracker is whole and does not answer yet: fills it, or starts threads.
    ///
    /// # Errors
    ///
    /// What keeps the tracker from starting.
    fn begin<F: Flavour>(&self, _: &mut Beginning<'_, F>) -> Result<(), StartError> {
        Ok(())
    }

    /// Called for each SIGHUP: reads again what was read at the start, in a thread of its own if that takes long. Logs
    /// whatever goes wrong, and leaves in force what was.
    fn reload(&self, _: &mut Threads) {}

    /// Called when nobody is to be answered for now, as another process takes over: whatever this plug hears from
    /// outside is that process's from when this returns, which is soon.
    fn pause(&self) {}

    /// Called when the process goes on after a [pause](Self::pause).
    fn resume(&self) {}

    /// Called once, when no request is answered any more and threads have ended or outlived their grace: tells others
    /// what is still to be told. Returns by `deadline`.
    fn finish(&self, _deadline: Instant) {}
}

/// Two plugs are a plug: each stage is that of the first, then that of the second.
impl<A: Plug, B: Plug> Plug for (A, B) {
    type Opened = (A::Opened, B::Opened);

    fn check(settings: &Settings) -> Result<(), ConfigError> {
        A::check(settings)?;
        B::check(settings)
    }

    fn open(opening: &mut Opening<'_>) -> Result<Self::Opened, StartError> {
        Ok((A::open(opening)?, B::open(opening)?))
    }

    fn plug((a, b): Self::Opened, settings: &Settings) -> Result<Self, StartError> {
        Ok((A::plug(a, settings)?, B::plug(b, settings)?))
    }

    fn begin<F: Flavour>(&self, beginning: &mut Beginning<'_, F>) -> Result<(), StartError> {
        self.0.begin(beginning)?;
        self.1.begin(beginning)
    }

    fn reload(&self, threads: &mut Threads) {
        self.0.reload(threads);
        self.1.reload(threads);
    }

    fn pause(&self) {
        self.0.pause();
        self.1.pause();
    }

    fn resume(&self) {
        self.0.resume();
        self.1.resume();
    }

    fn finish(&self, deadline: Instant) {
        self.0.finish(deadline);
        self.1.finish(deadline);
    }
}

/// Defines a struct whose fields are plugs, and which is a plug: each stage walks the fields in their order. A build is
/// such a struct, so that its plugs are listed once; so is a plug that asks another, its type parameter.
macro_rules! plugs {
    ($(#[$attribute:meta])* $visibility:vis struct $name:ident $(<$($inner:ident),*>)? {
        $($field:ident: $plug:ty),* $(,)?
    }) => {
        $(#[$attribute])*
        $visibility struct $name $(<$($inner),*>)? { $($field: $plug),* }

        impl $(<$($inner: $crate::server::Plug),*>)? $crate::server::Plug for $name $(<$($inner),*>)? {
            type Opened = ($(<$plug as $crate::server::Plug>::Opened,)*);

            fn check(settings: &$crate::config::Settings) -> Result<(), $crate::config::ConfigError> {
                $(<$plug as $crate::server::Plug>::check(settings)?;)*
                Ok(())
            }

            fn open(opening: &mut $crate::server::Opening<'_>) -> Result<Self::Opened, $crate::server::StartError> {
                Ok(($(<$plug as $crate::server::Plug>::open(opening)?,)*))
            }

            fn plug(
                ($($field,)*): Self::Opened,
                settings: &$crate::config::Settings,
            ) -> Result<Self, $crate::server::StartError> {
                Ok(Self { $($field: $crate::server::Plug::plug($field, settings)?),* })
            }

            fn begin<F: $crate::tracker::Flavour>(
                &self,
                beginning: &mut $crate::server::Beginning<'_, F>,
            ) -> Result<(), $crate::server::StartError> {
                $($crate::server::Plug::begin(&self.$field, beginning)?;)*
                Ok(())
            }

            fn reload(&self, threads: &mut $crate::server::Threads) {
                $($crate::server::Plug::reload(&self.$field, threads);)*
            }

            fn pause(&self) {
                $($crate::server::Plug::pause(&self.$field);)*
            }

            fn resume(&self) {
                $($crate::server::Plug::resume(&self.$field);)*
            }

            fn finish(&self, deadline: std::time::Instant) {
                $($crate::server::Plug::finish(&self.$field, deadline);)*
            }
        }
    };
}

pub(crate) use plugs;

/// Stands in an `impl Plug` for the stage `open` of a plug that has nothing to open.
macro_rules! opens_nothing {
    () => {
        type Opened = ();

        fn open(_: &mut $crate::server::Opening<'_>) -> Result<(), $crate::server::StartError> {
            Ok(())
        }
    };
}

pub(crate) use opens_nothing;

/// Makes plugs of the off twins: they are made from nothing, and have nothing to do in any stage.
macro_rules! off_twins {
    ($($twin:ty),*) => {$(
        impl Plug for $twin {
            super::opens_nothing!();

            fn plug((): (), _: &Settings) -> Result<Self, StartError> {
                Ok(Self::default())
            }
        }
    )*};
}

off_twins!(Open, AnyClient, Standalone, Unlogged, WantedUnlogged);
off_twins!(Connected, Everyone, NoRoute, NoCoding, Unlimited, Untimed, NoWrapper, RequestsUnlogged);

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;
    use std::sync::Mutex;

    use super::*;
    use crate::cluster::snapshot::Limits;
    use crate::tracker::testing::TestTracker;
    use crate::tracker::{Capacity, Ipv4Only, Minute};

    /// What has happened so far, for all plugs of these tests.
    static LOG: Mutex<String> = Mutex::new(String::new());

    fn log(stage: &str, name: u8) {
        let _ = write!(LOG.lock().unwrap(), "{stage} {name}, ");
    }

    /// A plug that says what happens to it.
    struct Witness<const NAME: u8>;

    impl<const NAME: u8> Plug for Witness<NAME> {
        type Opened = u8;

        fn check(settings: &Settings) -> Result<(), ConfigError> {
            log("check", NAME);
            match settings.tracker.user.as_str() {
                "strict" if NAME == 3 => Err(ConfigError::of_option("-u", None, crate::config::Problem::NotOffered)),
                _ => Ok(()),
            }
        }

        fn open(_: &mut Opening<'_>) -> Result<u8, StartError> {
            log("open", NAME);
            Ok(NAME)
        }

        fn plug(opened: u8, _: &Settings) -> Result<Self, StartError> {
            assert_eq!(opened, NAME, "each is handed what it has opened");
            log("plug", NAME);
            Ok(Self)
        }

        fn begin<F: Flavour>(&self, _: &mut Beginning<'_, F>) -> Result<(), StartError> {
            log("begin", NAME);
            Ok(())
        }

        fn reload(&self, _: &mut Threads) {
            log("reload", NAME);
        }

        fn pause(&self) {
            log("pause", NAME);
        }

        fn resume(&self) {
            log("resume", NAME);
        }

        fn finish(&self, _: Instant) {
            log("finish", NAME);
        }
    }

    plugs! {
        struct Three {
            one: Witness<1>,
            rest: Wrapped<(Witness<2>, Witness<3>)>,
        }
    }

    plugs! {
        struct Wrapped<Inner> {
            inner: Inner,
        }
    }

    #[test]
    fn every_stage_walks_the_list_in_its_order_and_pairs_and_wrapped_plugs_are_plugs() {
        let settings = Settings::default();
        Three::check(&settings).unwrap();
        let (mut needs, mut sockets) = Default::default();
        let mut opening = Opening { settings: &settings, user: None, needs: &mut needs, sockets: &mut sockets };
        let opened = Three::open(&mut opening).unwrap();
        let three = Three::plug(opened, &settings).unwrap();
        let mut threads = Threads::default();
        three
            .begin(&mut Beginning {
                settings: &settings,
                tracker: &Arc::new(TestTracker::<Ipv4Only>::plain(Capacity::NONE, Minute(1))),
                counters: &Arc::default(),
                memory: 1 << 30,
                clock: MonotonicClock::start(),
                threads: &mut threads,
                readiness: &Readiness::new(),
                inherits: None,
                snapshots: &Snapshots::new(Limits::default(), Instant::now()),
            })
            .unwrap();
        three.reload(&mut threads);
        three.pause();
        three.resume();
        three.finish(Instant::now());
        let stages = ["check", "open", "plug", "begin", "reload", "pause", "resume", "finish"];
        let expected: String =
            stages.iter().flat_map(|stage| [1, 2, 3].map(|name| format!("{stage} {name}, "))).collect();
        assert_eq!(std::mem::take(&mut *LOG.lock().unwrap()), expected);

        let mut settings = Settings::default();
        settings.tracker.user = "strict".into();
        assert!(Three::check(&settings).is_err(), "what one requires, all require");
    }
}
