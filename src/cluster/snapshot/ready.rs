//! When a tracker that looks for a snapshot is ready.

use std::pin::pin;
use std::time::Duration;

use tokio::time::timeout;
use tracing::info;

/// Waits until a search `over` a transport has come to its end, and returns its result. Drops `unready` then, or after
/// `wait` if that is sooner: the search goes on nevertheless.
pub async fn ready_by<T>(wait: Duration, unready: impl Sized, over: &str, search: impl Future<Output = T>) -> T {
    let mut search = pin!(search);
    if let Ok(found) = timeout(wait, &mut search).await {
        drop(unready);
        return found;
    }
    info!("no snapshot is in over {over} after {} s: ready without", wait.as_secs());
    drop(unready);
    search.await
}
