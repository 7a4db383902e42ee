//! What the tracker uses of the crate of this name to hand a page to many. Its locks are the real ones, which run in
//! any event loop; time is a number that grows with each look at it.

pub use real::sync;

pub mod task {
    pub use shuttle::future::yield_now;
}

pub mod time {
    use std::pin::pin;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::task::Poll;
    use std::time::Duration;

    use shuttle::rand::{Rng, thread_rng};

    static LOOKS: AtomicU64 = AtomicU64::new(0);

    /// How many looks there were before.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
    pub struct Instant(pub u64);

    impl Instant {
        pub fn now() -> Self {
            Self(LOOKS.fetch_add(1, Ordering::Relaxed))
        }
    }

    #[derive(Debug)]
    pub struct Elapsed;

    /// Waits for ever, or gives up after some turns: whatever the time, some wait for long enough.
    pub async fn timeout<F: Future>(_: Duration, future: F) -> Result<F::Output, Elapsed> {
        let mut future = pin!(future);
        let mut turns = if thread_rng().gen_bool(0.3) { Some(thread_rng().gen_range(0..6)) } else { None };
        std::future::poll_fn(move |context| match (future.as_mut().poll(context), &mut turns) {
            (Poll::Ready(value), _) => Poll::Ready(Ok(value)),
            (Poll::Pending, None) => Poll::Pending,
            (Poll::Pending, Some(0)) => Poll::Ready(Err(Elapsed)),
            (Poll::Pending, Some(left)) => {
                *left -= 1;
                context.waker().wake_by_ref();
                Poll::Pending
            }
        })
        .await
    }
}
