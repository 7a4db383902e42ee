//! What makes a page of the statistics for all who ask for it, between stand-ins of a worker and of a page.

#[path = "../../../src/http/page_cache.rs"]
mod page_cache;
#[path = "../../../src/http/walk.rs"]
mod walk;

pub mod pages;

mod flavour {
    pub trait HttpFlavour {}
}

mod reply {
    use crate::stats::Counter;

    pub const OK: &str = "200 OK";
    pub const TEXT: &str = "text/plain";

    pub enum Error {
        Busy,
    }

    pub struct Refusal {
        pub status: &'static str,
        pub reason: &'static str,
        pub retry_after: Option<u32>,
        pub counter: Option<Counter>,
    }

    impl From<Refusal> for Error {
        fn from(_: Refusal) -> Self {
            Self::Busy
        }
    }

    /// A reply is its body alone.
    pub fn write(_: &str, _: &str, _: bool, body: &[u8], out: &mut Vec<u8>) {
        out.extend_from_slice(body);
    }
}

mod request {
    use crate::tracker::Minute;
    use std::time::Duration;

    pub struct RequestTime {
        pub minute: Minute,
        pub uptime: Duration,
    }
}

mod worker {
    use std::cell::RefCell;
    use std::marker::PhantomData;
    use std::net::IpAddr;
    use std::sync::Arc;
    use std::time::Duration;

    use tokio::sync::{Mutex, MutexGuard};

    use super::page_cache::PageCache;
    use super::reply::Error;
    use super::request::RequestTime;
    use crate::tracker::Minute;

    #[derive(Default)]
    pub struct Shared {
        pub tracker: Arc<()>,
        pub counters: Arc<()>,
    }

    #[derive(Default)]
    pub struct Service(Arc<Shared>);

    impl Service {
        pub fn shared(&self) -> &Arc<Shared> {
            &self.0
        }

        pub fn refuse(&self, _: Error, _: IpAddr, out: &mut Vec<u8>) {
            out.extend_from_slice(b"busy");
        }
    }

    /// Another worker runs on another thread, and this one has one connection.
    pub async fn give_way() {
        tokio::task::yield_now().await;
    }

    /// One of several that have the same pages.
    pub struct Worker<F, C> {
        pub service: RefCell<Service>,
        pages: Arc<Mutex<PageCache>>,
        marker: PhantomData<(F, C)>,
    }

    impl<F, C> Worker<F, C> {
        pub fn new(pages: Arc<Mutex<PageCache>>) -> Self {
            Self { service: RefCell::default(), pages, marker: PhantomData }
        }

        pub async fn lock_page_cache(&self) -> MutexGuard<'_, PageCache> {
            self.pages.lock().await
        }

        pub fn now(&self) -> RequestTime {
            RequestTime { minute: Minute(1), uptime: Duration::ZERO }
        }
    }
}
